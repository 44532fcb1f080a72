//! The attract loop of an exhibition: plays preset after preset, each from no prefix to an overdriven one, until a
//! visitor touches the controls, and resumes after a while.
//!
//! Without a module it plays the built-in recording and tries to reconnect repeatedly. The elapsed time is passed in.

use std::time::Duration;

use super::library::LibraryState;
use super::{Action, ExhibitionAction, PlaybackAction, Tuning, Workbench};
use crate::messages::Request;
use crate::model::{MagnitudeUnit, ModuleState, PRESETS, Pane, PrefixForm, PromptForm, RunId, Target};

/// Magnitudes in token norms, from 0 to far overdriven.
const STATIONS: [f64; 8] = [0.0, 0.1, 0.5, 1.0, 2.0, 5.0, 20.0, 100.0];
/// Duration of the slider's animation from one magnitude to the next.
const GLIDE: Duration = Duration::from_millis(900);
/// Interval of the animation.
const FRAME: Duration = Duration::from_millis(33);
/// Time to read a finished text.
const DWELL: Duration = Duration::from_millis(3500);
/// Longest wait for an output.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time without a touch after which the loop resumes.
const UNTOUCHED: Duration = Duration::from_secs(60);
/// Interval between attempts to reach a lost module.
const RETRY: Duration = Duration::from_secs(5);
/// Number of runs after which those so far are forgotten while visitors keep using the controls, so that memory is bounded.
const MAX_RUNS: usize = 500;

/// The attract loop.
pub struct Exhibition {
    phase: Phase,
    /// Index of the current preset.
    preset: usize,
    station: usize,
    /// Time until the next attempt to reach a lost module.
    retry: Duration,
    /// Whether the recording was requested.
    recording_requested: bool,
    /// The first run of the exhibition.
    first_run: RunId,
    own: Own,
}

/// What the user had before, restored at the end.
struct Own {
    prefix: PrefixForm,
    prompt: PromptForm,
    live: bool,
    presenting: bool,
    /// The session, which the runs of an exhibition do not enter, and its panes.
    tuning: Tuning,
    panes: (Pane, Pane),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    /// The slider moves to the next magnitude.
    Gliding {
        from: f64,
        left: Duration,
    },
    /// The output of this magnitude is being generated.
    Running {
        left: Duration,
    },
    Reading {
        left: Duration,
    },
    /// A visitor uses the controls.
    Touched {
        left: Duration,
    },
}

impl Exhibition {
    /// Returns whether a visitor uses the controls.
    pub fn is_touched(&self) -> bool {
        matches!(self.phase, Phase::Touched { .. })
    }

    /// Returns the user's own prefix and prompt, and whether Live was on.
    pub(super) fn own_controls(&self) -> (&PrefixForm, &PromptForm, bool) {
        (&self.own.prefix, &self.own.prompt, self.own.live)
    }

    /// Returns the user's own session.
    pub(super) fn own_session(&mut self) -> &mut Tuning {
        &mut self.own.tuning
    }
}

impl Workbench {
    pub(super) fn exhibition_acts(&mut self, action: ExhibitionAction) {
        match (action, self.exhibition.is_some()) {
            (ExhibitionAction::Toggle, true) => self.end_exhibition(),
            (ExhibitionAction::Toggle, false) => {
                if self.module.is_ready() {
                    self.leave_playback();
                }
                let playing = self.playback.as_mut().map(|playback| {
                    playback.looping = true;
                    // Leaving the playback ends the presentation; `end_exhibition` restores what it was.
                    playback.before = (self.tab, false);
                });
                let tuning = self.replace_session(Tuning::default());
                let own = Own {
                    prefix: self.prefix.clone(),
                    prompt: self.prompt.clone(),
                    live: self.live,
                    presenting: self.presenting,
                    tuning,
                    panes: (self.baseline.clone(), self.prefixed.clone()),
                };
                self.exhibition = Some(Exhibition {
                    phase: gliding_from(&self.prefix),
                    preset: 0,
                    station: 0,
                    retry: Duration::ZERO,
                    recording_requested: playing.is_some(),
                    first_run: RunId(self.next_id),
                    own,
                });
                self.live = false;
                self.act(Action::Present(true));
                self.act(Action::LoadPreset(0));
            }
            (ExhibitionAction::Touched, true) => {
                let live = self.own_live();
                if let Some(exhibition) = &mut self.exhibition {
                    exhibition.phase = Phase::Touched { left: UNTOUCHED };
                }
                self.live = live;
                // A saved session that a visitor opened stays.
                let is_unsaved = self.tuning.saved.experiment.id.is_empty();
                if is_unsaved && self.tuning.saved.records.len() >= MAX_RUNS && !self.is_running() {
                    self.forget_runs();
                }
            }
            (ExhibitionAction::Touched, false) => {}
        }
    }

    fn own_live(&self) -> bool {
        self.exhibition.as_ref().is_some_and(|exhibition| exhibition.own.live)
    }

    /// Returns the user's own session if a run was started in it, before the exhibition.
    pub(super) fn own_session_of(&mut self, run: RunId) -> Option<&mut Tuning> {
        let exhibition = self.exhibition.as_mut()?;
        let own = &mut exhibition.own.tuning;
        (own.first_run <= run && run < exhibition.first_run).then_some(own)
    }

    /// Forgets the runs of the exhibition, which are not saved. The texts stay until the next ones arrive.
    fn forget_runs(&mut self) {
        self.replace_session(Tuning::default());
        self.compare_panes();
        self.refresh_stale();
    }

    /// Restores the user's own session and fields.
    pub(super) fn end_exhibition(&mut self) {
        let Some(Exhibition {
            own,
            recording_requested,
            ..
        }) = self.exhibition.take()
        else {
            return;
        };
        if recording_requested {
            self.leave_playback();
        }
        // Off, so that restoring starts no run.
        self.live = false;
        self.act(Action::Present(own.presenting));
        self.replace_session(own.tuning);
        (self.baseline, self.prefixed) = own.panes;
        self.set_controls(own.prefix, own.prompt);
        self.compare_panes();
        // A visitor may have begun or opened another session.
        let id = &self.tuning.saved.experiment.id;
        let session = (!id.is_empty() && !self.tuning.is_closed).then(|| id.clone());
        self.pending_requests.push(Request::Tuning(session));
        self.live = own.live;
        if self.library.state == LibraryState::Open {
            self.restore();
        }
    }

    /// Advances the exhibition by `time`. Returns the time until the next call; `None` without an exhibition.
    pub(super) fn advance_exhibition(&mut self, time: Duration) -> Option<Duration> {
        let exhibition = self.exhibition.as_mut()?;
        if let Phase::Touched { left } = &mut exhibition.phase {
            *left = left.saturating_sub(time);
            let left = *left;
            if !left.is_zero() {
                return Some(left);
            }
            // Off, so that the magnitudes that the loop sets start no run: it requests its own.
            self.live = false;
            if let (None, Some(exhibition)) = (&self.playback, &mut self.exhibition) {
                exhibition.recording_requested = false;
            }
            self.next_preset();
        }
        if !self.module.is_ready() {
            return Some(self.play_recording(time));
        }
        self.advance_live(time)
    }

    /// Without a module, plays the recording and tries to reconnect.
    fn play_recording(&mut self, time: Duration) -> Duration {
        let lost = matches!(self.module, ModuleState::Failed { .. });
        let remote = matches!(self.target, Target::Remote { .. });
        // The embedded module only if it was ready before: to connect it otherwise may download a model.
        let again = lost && (remote || self.module.last_facts().is_some());
        let idle = self.playback.is_none();
        let Some(exhibition) = &mut self.exhibition else {
            return RETRY;
        };
        exhibition.retry = exhibition.retry.saturating_sub(time);
        let due = exhibition.retry.is_zero();
        if due {
            exhibition.retry = RETRY;
        }
        let wait = exhibition.retry;
        if idle && !exhibition.recording_requested {
            exhibition.recording_requested = true;
            self.playback_acts(PlaybackAction::Demo);
        }
        if again && due {
            self.connect(self.target.clone());
        }
        wait
    }

    fn advance_live(&mut self, time: Duration) -> Option<Duration> {
        let exhibition = self.exhibition.as_mut()?;
        exhibition.retry = Duration::ZERO;
        if std::mem::take(&mut exhibition.recording_requested) {
            // The module is back.
            self.leave_playback();
            self.act(Action::Present(true));
            self.next_preset();
        }
        let running = self.is_running();
        let scale = match self.prefix.unit {
            MagnitudeUnit::TokenNorms => 1.0,
            MagnitudeUnit::Raw => self.raw_of_one_norm(),
        };
        let exhibition = self.exhibition.as_mut()?;
        let station = STATIONS.get(exhibition.station).copied().unwrap_or(0.0) * scale;
        match exhibition.phase {
            Phase::Gliding { from, left } => {
                let left = left.saturating_sub(time);
                if left.is_zero() {
                    exhibition.phase = Phase::Running { left: PATIENCE };
                    self.act(Action::SetMagnitude(station));
                    self.act(Action::Run);
                } else {
                    exhibition.phase = Phase::Gliding { from, left };
                    let way = 1.0 - left.as_secs_f64() / GLIDE.as_secs_f64();
                    self.act(Action::SetMagnitude(between(from, station, way)));
                }
                Some(FRAME)
            }
            Phase::Running { left } => {
                let left = left.saturating_sub(time);
                if !running {
                    exhibition.phase = Phase::Reading { left: DWELL };
                    return Some(DWELL);
                }
                exhibition.phase = Phase::Running { left };
                if left.is_zero() {
                    exhibition.phase = Phase::Reading { left: DWELL };
                    self.act(Action::Stop);
                }
                // The last event of the run wakes the window, too.
                Some(Duration::from_millis(250))
            }
            Phase::Reading { left } => {
                let left = left.saturating_sub(time);
                if !left.is_zero() {
                    exhibition.phase = Phase::Reading { left };
                    return Some(left);
                }
                if exhibition.station + 1 < STATIONS.len() {
                    exhibition.station += 1;
                    let from = self.prefix.magnitude;
                    exhibition.phase = Phase::Gliding { from, left: GLIDE };
                } else {
                    self.next_preset();
                }
                Some(FRAME)
            }
            Phase::Touched { left } => Some(left),
        }
    }

    fn next_preset(&mut self) {
        let phase = gliding_from(&self.prefix);
        let Some(exhibition) = &mut self.exhibition else { return };
        exhibition.preset = (exhibition.preset + 1) % PRESETS.len();
        exhibition.station = 0;
        exhibition.phase = phase;
        let preset = exhibition.preset;
        if preset == 0 {
            self.forget_runs();
        }
        self.act(Action::LoadPreset(preset));
    }
}

fn gliding_from(prefix: &PrefixForm) -> Phase {
    Phase::Gliding {
        from: prefix.magnitude,
        left: GLIDE,
    }
}

/// Interpolates between two magnitudes on a logarithmic scale. Those below 0.001, such as 0, count as 0.001.
fn between(from: f64, to: f64, way: f64) -> f64 {
    const LEAST: f64 = 1e-3;
    let (a, b) = (from.abs().max(LEAST).ln(), to.max(LEAST).ln());
    // Eases in and out.
    let eased = way * way * (3.0 - 2.0 * way);
    (a + (b - a) * eased).exp()
}
