"""Jobs, sensors, alerts, the terminal's output and the guard of the web page."""
