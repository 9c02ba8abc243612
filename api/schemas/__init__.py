"""What goes over the wire: `Thing` is an answer, `ThingCreate` a request."""
