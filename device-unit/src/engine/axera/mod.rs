//! The NPU engine: Axera models through the runtime libraries of the module. It knows the runtime, not tasks or prefixes.
