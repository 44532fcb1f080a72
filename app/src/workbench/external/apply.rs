//! Applies the commands of other programs by the same setters as the window's own controls, and notifies them of what is
//! shown.

use std::time::Duration;

use super::{Link, Notified};
use crate::messages::{ExternalEvent, ExternalRequest, Request};
use crate::model::{
    Endpoint, Envelope, ExternalCommand, ExternalError, ExternalState, Mapped, Mapping, Notification, Received,
};
use crate::recording::Line;
use crate::workbench::{Action, ExhibitionAction, ExternalAction, MaterialAction, Notice, Workbench};

/// Maximum number of runs in a session that other programs control; then a new session starts, so that memory is bounded in an
/// installation that runs forever. The runs stay in the history.
const MAX_SESSION_RUNS: usize = 2_000;

impl Workbench {
    /// Notifies a pipe from now on: notifications are among the requests, as
    /// [`ExternalRequest::Notify`].
    pub fn notify_pipe(&mut self) {
        self.begin_to_notify();
        self.external.piped = true;
        self.notify();
    }

    pub(in crate::workbench) fn external_acts(&mut self, action: ExternalAction) {
        let settings = &mut self.settings.external;
        let reopens = match action {
            ExternalAction::SetListen(address) => {
                settings.listen = address;
                self.external.is_on()
            }
            ExternalAction::SetSendTo(address) => {
                settings.send_to = address;
                self.external.is_on()
            }
            ExternalAction::SetMapping(of, mapping) => {
                let Mapping { from, to, .. } = &mapping;
                if from.iter().chain(to).all(|end| end.is_finite()) {
                    *settings.mapping_mut(of) = mapping;
                }
                false
            }
            ExternalAction::Open => true,
            ExternalAction::Close => {
                self.external.is_wanted = false;
                self.external.link = Link::Off;
                self.pending_requests.push(Request::External(ExternalRequest::Close));
                false
            }
        };
        if reopens {
            self.open_external();
        }
    }

    fn open_external(&mut self) {
        let settings = &self.settings.external;
        let listen = Endpoint::parse(&settings.listen);
        let send_to = Endpoint::parse(&settings.send_to);
        self.external.is_wanted = listen.is_some() || send_to.is_some();
        self.external.link = if !self.external.is_wanted {
            self.pending_requests.push(Request::External(ExternalRequest::Close));
            Link::Off
        } else {
            self.pending_requests
                .push(Request::External(ExternalRequest::Open { listen, send_to }));
            Link::Opening
        };
    }

    pub(in crate::workbench) fn absorb_external(&mut self, event: ExternalEvent) {
        match event {
            ExternalEvent::Opened { listen, send_to } => {
                if !self.external.is_wanted {
                    return;
                }
                self.begin_to_notify();
                self.external.link = Link::Open { listen, send_to };
            }
            ExternalEvent::Refused(problem) => {
                self.external.link = Link::Off;
                self.notice = Some(Notice::Problem(problem));
            }
            ExternalEvent::NotSent(problem) => self.notice = Some(Notice::Problem(problem)),
            ExternalEvent::Received(received) => self.receive(received),
        }
    }

    fn receive(&mut self, received: Received) {
        let Received {
            mut commands,
            packets,
            refused,
            why,
        } = received;
        self.external.packets += packets;
        self.external.refused += refused;
        self.external.why = why.or(self.external.why.take());
        if commands.is_empty() {
            return;
        }
        if self.playback.is_some() {
            self.external.refused += packets - refused;
            self.external.why = Some(ExternalError::Playing);
            return;
        }
        if self.recording().is_some() {
            self.line(Line::External(commands.clone()));
        }
        if self.exhibition.is_some() {
            self.act(Action::Exhibit(ExhibitionAction::Touched));
        }
        if self.tuning.saved.records.len() >= MAX_SESSION_RUNS && !self.is_running() {
            self.act(Action::NewSession);
        }
        // A run uses everything that was received with it.
        commands.sort_by_key(|command| matches!(command, ExternalCommand::Run(_)));
        // The bridge has already waited. Another delay would postpone runs forever while values keep changing.
        let delay = std::mem::replace(&mut self.live_delay, Duration::ZERO);
        for command in commands {
            if let Some(action) = self.action_of(&command) {
                self.act(action);
            }
            let last = &mut self.external.last;
            last.retain(|earlier| std::mem::discriminant(earlier) != std::mem::discriminant(&command));
            last.insert(0, command);
        }
        self.live_delay = delay;
    }

    /// Returns the action of a command, within the ranges of the controls; `None` if it has no effect.
    fn action_of(&self, command: &ExternalCommand) -> Option<Action> {
        let mapped = |of, value| self.settings.external.mapping(of).map(value);
        Some(match command {
            ExternalCommand::Magnitude(value) => {
                let value = mapped(Mapped::Magnitude, *value);
                Action::SetMagnitude(value.clamp(0.0, *self.prefix.range().end()))
            }
            ExternalCommand::Len(value) => {
                let len = mapped(Mapped::Len, *value).round().max(1.0) as usize;
                Action::SetLen(len.min(self.max_len()))
            }
            ExternalCommand::Seed(seed) => Action::SetSeed(*seed),
            ExternalCommand::Row(row, value) => {
                let len = self.prefix.len;
                // A single row has no envelope.
                if *row > len || len < 2 {
                    return None;
                }
                let mut factors = self.prefix.envelope.bars(len);
                // A long prefix has fewer points than rows.
                let last = factors.len() - 1;
                let at = ((row - 1) * last + (len - 1) / 2) / (len - 1);
                factors[at.min(last)] = mapped(Mapped::Row, *value).clamp(0.0, 1.0);
                Action::Material(MaterialAction::SetEnvelope(Envelope::Drawn(factors)))
            }
            ExternalCommand::Blend(value) => {
                Action::Material(MaterialAction::SetBlend(mapped(Mapped::Blend, *value).clamp(0.0, 1.0)))
            }
            ExternalCommand::Prompt(text) => Action::SetPrompt(text.clone()),
            ExternalCommand::Preset(number) => Action::LoadPreset(number.checked_sub(1)?),
            ExternalCommand::Run(true) => Action::Run,
            ExternalCommand::Run(false) => return None,
        })
    }

    // ----- notifications -----

    /// Before the first listener: marks the text that is shown as sent, so that only later ones are, and forgets the last state, so that
    /// it is sent. A further listener gets changes only.
    fn begin_to_notify(&mut self) {
        if !self.external.has_listener() {
            let shown = self.tuning.current().map(|(record, _)| record.id.clone());
            self.external.notified = Notified {
                state: None,
                text: shown.clone(),
                similarity: shown,
            };
        }
    }

    pub(in crate::workbench) fn notify_of(&mut self, notification: Notification) {
        if self.external.has_listener() {
            self.pending_requests
                .push(Request::External(ExternalRequest::Notify(notification)));
        }
    }

    /// Sends what has changed. Called after every action and event.
    pub(in crate::workbench) fn notify(&mut self) {
        if !self.external.has_listener() {
            return;
        }
        let mut is_measured = true;
        let shown = self.tuning.current().filter(|(record, _)| {
            !self.is_running() && record.is_complete() && *record.output() == *self.prefixed.text
        });
        if let Some((record, point)) = shown {
            let similarity = point.measures.as_ref().map(|measures| measures.chrf2);
            is_measured = similarity.is_some() || self.tuning.baseline().is_none();
            let (id, text) = (record.id.clone(), record.output().to_owned());
            if self.external.notified.text.as_ref() != Some(&id) {
                self.external.notified.text = Some(id.clone());
                self.notify_of(Notification::Text(text));
            }
            if let Some(similarity) = similarity
                && self.external.notified.similarity.as_ref() != Some(&id)
            {
                self.external.notified.similarity = Some(id);
                self.notify_of(Notification::Similarity(similarity));
            }
        }
        let state = match &self.module {
            _ if self.is_running() || !is_measured => ExternalState::Running,
            module if module.is_ready() => ExternalState::Idle,
            module if module.is_busy() => ExternalState::Connecting,
            _ => ExternalState::Disconnected,
        };
        if self.external.notified.state != Some(state) {
            self.external.notified.state = Some(state);
            self.notify_of(Notification::State(state));
        }
    }
}
