"""Lightning callbacks: EMA, saving, history, progress, threads, freezing, NaN."""
