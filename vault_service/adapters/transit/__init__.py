"""Transit (OpenBao, HashiCorp Vault): the only room that knows its client."""

from vault_service.adapters.transit.admin import TransitAdmin
from vault_service.adapters.transit.settings import TransitSettings, key_name
from vault_service.adapters.transit.wrapper import TransitKeyWrapper

__all__ = ["TransitAdmin", "TransitKeyWrapper", "TransitSettings", "key_name"]
