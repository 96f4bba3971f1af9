# Policy of the operator's AppRole: makes and reads tenants' keys, and can decrypt nothing.
path "transit/keys/tokenvault-*" { capabilities = ["create", "read", "update"] }
path "auth/token/lookup-self"    { capabilities = ["read"] }
