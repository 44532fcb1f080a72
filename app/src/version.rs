//! Version, commit and renderer of the build.

use std::sync::LazyLock;

use eframe::Renderer;

/// The renderer: the system's default, or the one chosen by a cargo feature.
#[cfg(any(feature = "wgpu", all(target_os = "macos", not(feature = "glow"))))]
pub const RENDERER: (Renderer, &str) = (Renderer::Wgpu, "wgpu");
#[cfg(not(any(feature = "wgpu", all(target_os = "macos", not(feature = "glow")))))]
pub const RENDERER: (Renderer, &str) = (Renderer::Glow, "OpenGL");

/// The cargo feature that selects the other renderer.
pub const OTHER_RENDERER: &str = if cfg!(target_os = "macos") { "glow" } else { "wgpu" };

/// Version, the commit from `SOFTPREFIX_COMMIT` if set at build time, and the renderer: `0.1.0 (0123abc, OpenGL)`.
pub static VERSION: LazyLock<String> = LazyLock::new(|| {
    let commit = option_env!("SOFTPREFIX_COMMIT").unwrap_or("no commit named");
    format!("{} ({commit}, {})", env!("CARGO_PKG_VERSION"), RENDERER.1)
});
