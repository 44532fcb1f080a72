//! Version, commit, renderer and features of the build, and where its releases are.

use std::sync::LazyLock;

use eframe::Renderer;

/// The renderer: the system's default, or the one chosen by a cargo feature.
#[cfg(any(feature = "wgpu", all(target_os = "macos", not(feature = "glow"))))]
pub const RENDERER: (Renderer, &str) = (Renderer::Wgpu, "wgpu");
#[cfg(not(any(feature = "wgpu", all(target_os = "macos", not(feature = "glow")))))]
pub const RENDERER: (Renderer, &str) = (Renderer::Glow, "OpenGL");

/// The cargo feature that selects the other renderer.
pub const OTHER_RENDERER: &str = if cfg!(target_os = "macos") { "glow" } else { "wgpu" };

/// The version.
pub const NUMBER: &str = env!("CARGO_PKG_VERSION");

/// The commit, if `SOFTPREFIX_COMMIT` was set at build time.
pub const COMMIT: Option<&str> = option_env!("SOFTPREFIX_COMMIT");

/// The cargo features that were chosen, in the order of the manifest; empty for the usual build.
pub fn features() -> Vec<&'static str> {
    let all = [
        ("wgpu", cfg!(feature = "wgpu")),
        ("glow", cfg!(feature = "glow")),
        ("inspection", cfg!(feature = "inspection")),
    ];
    all.into_iter().filter_map(|(name, on)| on.then_some(name)).collect()
}

/// Version, commit, renderer and features: `0.1.0 (0123abc, OpenGL, features: inspection)`.
pub static VERSION: LazyLock<String> = LazyLock::new(|| {
    let features = match features().as_slice() {
        [] => "none".to_owned(),
        features => features.join(" "),
    };
    let commit = COMMIT.unwrap_or("no commit named");
    format!("{NUMBER} ({commit}, {}, features: {features})", RENDERER.1)
});

/// The page with the releases, if `SOFTPREFIX_REPOSITORY` was set at build time to the address of the repository.
pub static RELEASES: LazyLock<Option<String>> = LazyLock::new(|| {
    let repository = option_env!("SOFTPREFIX_REPOSITORY")?.trim_end_matches('/');
    (!repository.is_empty()).then(|| format!("{repository}/releases"))
});
