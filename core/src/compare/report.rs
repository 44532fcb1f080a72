//! Results files. It knows texts, not modules.
