# Policy of the service's AppRole. `update` only: `create` on encrypt would make keys silently.
path "transit/encrypt/tokenvault-*" { capabilities = ["update"] }
path "transit/decrypt/tokenvault-*" { capabilities = ["update"] }
path "transit/rewrap/tokenvault-*"  { capabilities = ["update"] }
path "auth/token/lookup-self"       { capabilities = ["read"] }
path "auth/token/renew-self"        { capabilities = ["update"] }
# `tokenvault doctor` looks at what its own login may do.
path "sys/capabilities-self"        { capabilities = ["update"] }
