//! What was built: version, commit, renderer.

use std::sync::LazyLock;

use eframe::Renderer;

/// The renderer: the system's usual one, or the one that was asked for when the program was built.
#[cfg(any(feature = "wgpu", all(target_os = "macos", not(feature = "glow"))))]
pub const RENDERER: (Renderer, &str) = (Renderer::Wgpu, "wgpu");
#[cfg(not(any(feature = "wgpu", all(target_os = "macos", not(feature = "glow")))))]
pub const RENDERER: (Renderer, &str) = (Renderer::Glow, "OpenGL");

/// The cargo feature that takes the other renderer.
pub const OTHER_RENDERER: &str = if cfg!(target_os = "macos") { "glow" } else { "wgpu" };

/// Version, the commit where the build was told it by `SOFTPREFIX_COMMIT`, and the renderer: `0.1.0 (0123abc, OpenGL)`.
pub static VERSION: LazyLock<String> = LazyLock::new(|| {
    let commit = option_env!("SOFTPREFIX_COMMIT").unwrap_or("no commit named");
    format!("{} ({commit}, {})", env!("CARGO_PKG_VERSION"), RENDERER.1)
});
