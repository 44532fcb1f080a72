//! The sizes that packed weights and quantised activations are laid out by.

/// Inputs of one block: the number of weights that share a scale.
pub const BLOCK: usize = 32;

/// Outputs of one panel: those whose weights lie interleaved, and the lanes of the widest registers.
pub const PANEL: usize = 16;
