"""Only here is it known who is who: adapters meet use cases."""
