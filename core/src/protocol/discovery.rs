//! How modules are found on a local network: by multicast DNS (RFC 6762) and DNS service discovery (RFC 6763).

/// The service that our unit announces while it listens on an address that other machines can reach.
pub const SERVICE_TYPE: &str = "_softprefix._tcp.local.";

/// Key of the announcement's TXT record for the unit's name and version.
pub const UNIT_KEY: &str = "unit";

/// The name of an M5Stack LLM Module as it is delivered; its llm-sys announces no service.
pub const MODULE_HOST: &str = "m5stack-LLM.local.";
