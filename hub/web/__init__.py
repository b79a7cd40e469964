"""Pages for staff: rendered here, kept live by small ES modules; `build.sh` makes what browsers load."""
