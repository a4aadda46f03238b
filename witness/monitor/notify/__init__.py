"""How alerts leave a monitor: webhooks, an Atom feed, JSON lines. Each format has one place that escapes."""
