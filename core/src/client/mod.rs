//! The async StackFlow client: connection, module, task. It knows TCP and the protocol, and nothing of how a unit computes.
