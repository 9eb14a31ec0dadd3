"""Guests: the QEMU process, the agent's protocol, and what came of a boot."""
