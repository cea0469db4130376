"""Guessing is slow, and locks nobody out who knows the password."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

import pytest

from jersey_assets.operations import password
from jersey_assets.operations.password import Password, Verdict, client_network

RIGHT = b"correct horse"


class Clock:
    """Time that passes where somebody waits for it."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(password, "monotonic", made)
    monkeypatch.setattr(password, "sleep", made.sleep)
    return made


def run(work: Callable[[Password], Coroutine[None, None, None]]) -> None:
    asyncio.run(work(Password(RIGHT.decode())))


def test_one_client_has_a_few_guesses_a_minute(clock: Clock) -> None:
    async def guess(judge: Password) -> None:
        for number in range(100):
            found = await judge.judge("1.2.3.4", str(number).encode(), "")
            assert found is Verdict.WRONG

    run(guess)
    assert clock.now - 1000 > 90 * 5


def test_all_clients_together_have_a_few_guesses_a_second(clock: Clock) -> None:
    async def guess(judge: Password) -> None:
        for number in range(10_000):
            await judge.judge(f"client {number}", b"wrong", "")

    run(guess)
    assert clock.now - 1000 > 9_990 / 20


def test_of_very_many_clients_the_earliest_is_forgotten(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(password, "_CLIENTS", 3)

    async def guess(judge: Password) -> None:
        for _ in range(10):
            await judge.judge("client", b"wrong", "")
        for number in range(3):
            await judge.judge(f"client {number}", b"wrong", "")
        before = clock.now
        await judge.judge("client", b"wrong", "")
        assert clock.now - before < 1.0

    run(guess)


def test_a_right_guess_takes_as_long_as_a_wrong_one(clock: Clock) -> None:
    waited = {}

    async def guess(judge: Password) -> None:
        for given in (b"wrong", RIGHT):
            client = given.decode()
            for _ in range(10):
                await judge.judge(client, b"wrong", "")
            before = clock.now
            await judge.judge(client, given, "")
            waited[given] = clock.now - before

    run(guess)
    assert waited[RIGHT] == pytest.approx(waited[b"wrong"]) == 5.0


def test_a_typing_mistake_costs_a_blink(clock: Clock) -> None:
    async def mistype(judge: Password) -> None:
        assert await judge.judge("desk", b"correct hrose", "") is Verdict.WRONG
        assert await judge.judge("desk", RIGHT, "") is Verdict.RIGHT

    run(mistype)
    assert clock.now - 1000 == pytest.approx(0.1)


def test_the_operator_does_not_wait_behind_those_who_guess(clock: Clock) -> None:
    async def work(judge: Password) -> None:
        assert await judge.judge("proxy", RIGHT, "") is Verdict.RIGHT
        assert await judge.judge("desk", RIGHT, "") is Verdict.RIGHT
        for number in range(50):
            await judge.judge("proxy", b"wrong", "")
            await judge.judge(f"client {number}", b"wrong", "")
        before = clock.now
        # A browser behind the same proxy as the attacker, and a script elsewhere.
        assert await judge.judge("proxy", RIGHT, judge.token) is Verdict.RIGHT
        assert await judge.judge("desk", RIGHT, "") is Verdict.RIGHT
        assert clock.now == before

    run(work)


def test_a_token_alone_opens_nothing_and_is_void_after_one_guess(clock: Clock) -> None:
    async def guess(judge: Password) -> None:
        for _ in range(10):
            await judge.judge("thief", b"wrong", "")
        stolen = judge.token
        assert await judge.judge("thief", b"wrong", stolen) is Verdict.WRONG
        assert judge.token != stolen
        before = clock.now
        await judge.judge("thief", b"wrong", stolen)
        assert clock.now - before == pytest.approx(5.0)

    run(guess)


def test_few_wait_at_a_time_and_the_others_are_not_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(password, "_WAITING_OF_ONE", 5)

    async def flood(judge: Password) -> None:
        await judge.judge("one", b"wrong", "")
        found = await asyncio.gather(
            *(judge.judge("one", RIGHT, "") for _ in range(100))
        )
        assert found.count(Verdict.RIGHT) == 5
        assert found.count(Verdict.NOT_JUDGED) == 95

    run(flood)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_an_ipv6_client_is_its_network(address: str, network: str) -> None:
    assert client_network((address, 1)) == network
