//! Block sizes of packed weights and quantised activations.

/// Inputs per block, which share a scale.
pub const BLOCK: usize = 32;

/// Outputs per panel, whose weights are interleaved: the lanes of the widest registers.
pub const PANEL: usize = 16;
