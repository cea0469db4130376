"""What keeps the graph running: jobs, sensors, alerts, the web page."""
