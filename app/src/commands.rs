//! The table of commands: the keys of the window (`app.rs`) and the help sheet (`panels/sheets.rs`) are read from it.

use eframe::egui::{Key, KeyboardShortcut, Modifiers};

use crate::model::{FindMode, Format, ModuleState};
use crate::workbench::doctor::{DoctorAction, Work};
use crate::workbench::{Action, Dialog, ExhibitionAction, FindAction, PlaybackAction, SweepAction, Tab, Workbench};

/// A command with a name and an optional shortcut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CommandId {
    Run,
    Stop,
    RerunBaseline,
    ToggleLive,
    MagnitudeUp,
    MagnitudeDown,
    MagnitudeUpMore,
    MagnitudeDownMore,
    MagnitudeZero,
    MagnitudeReset,
    MoreVectors,
    FewerVectors,
    NextMeasure,
    ToggleGranularity,
    /// Colours the baseline by the KL divergence instead of the differences, or back.
    ToggleKl,
    /// Runs the current prefix at the magnitudes of the curve that have no run yet, or stops that.
    FillCurve,
    ShowRuns,
    MoreStars,
    FewerStars,
    EditNote,
    AddToSweep,
    /// Keeps the run in view in the left pane, in the baseline's place, or shows the baseline again.
    Pin,
    NextDifference,
    PreviousDifference,
    /// Shows the texts without the plot, or with it again.
    TextsAlone,
    PreviousRun,
    NextRun,
    CopyBaseline,
    CopyPrefixed,
    Open,
    Export,
    NewSession,
    /// Takes the prefix that Find has found into Tune.
    UseFound,
    PickFirst,
    PickSecond,
    PickThird,
    PickFourth,
    /// Opens the generation before the one in view again.
    StepBack,
    Connect,
    Reconnect,
    Models,
    ToggleTheme,
    ToggleLanguage,
    ZoomIn,
    ZoomOut,
    ZoomReset,
    ShowTune,
    ShowSweep,
    ShowFind,
    ShowDoctor,
    /// Shows the Presenter, a large view that the user controls, or leaves it.
    Present,
    /// Starts the exhibition, which plays the presets in turn by itself, or ends it.
    Exhibit,
    PlayDemo,
    ToggleRecording,
    OpenRecording,
    ToggleFullscreen,
    Settings,
    Help,
    Quit,
}

/// Group of a command in the help sheet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Group {
    Run,
    Prefix,
    Find,
    Results,
    Module,
    Window,
}

impl Group {
    pub const ALL: [Self; 6] = [
        Self::Run,
        Self::Prefix,
        Self::Find,
        Self::Results,
        Self::Module,
        Self::Window,
    ];
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Command {
    pub id: CommandId,
    pub group: Group,
    shortcut: Option<KeyboardShortcut>,
    /// The shortcut on a Mac, where it differs in more than the command key.
    mac: Option<KeyboardShortcut>,
    /// Whether it also fires while a text field has the focus.
    pub while_typing: bool,
    /// The tabs in which it acts; empty for all.
    pub tabs: &'static [Tab],
}

/// Where commands on the prefix and the runs of Tune act.
const TUNE: &[Tab] = &[Tab::Tune];
/// Where commands on two outputs side by side act.
const OUTPUTS: &[Tab] = &[Tab::Tune, Tab::Sweep];
const FIND: &[Tab] = &[Tab::Find];

const fn row(id: CommandId, group: Group) -> Command {
    Command {
        id,
        group,
        shortcut: None,
        mac: None,
        while_typing: true,
        tabs: &[],
    }
}

impl Command {
    /// A shortcut with the command key (Ctrl, on a Mac Cmd); it also fires while typing.
    const fn cmd(mut self, key: Key) -> Self {
        self.shortcut = Some(KeyboardShortcut::new(Modifiers::COMMAND, key));
        self
    }

    const fn cmd_shift(mut self, key: Key) -> Self {
        self.shortcut = Some(KeyboardShortcut::new(Modifiers::COMMAND.plus(Modifiers::SHIFT), key));
        self
    }

    /// A bare key; does not fire while typing.
    const fn key(mut self, key: Key) -> Self {
        self.shortcut = Some(KeyboardShortcut::new(Modifiers::NONE, key));
        self.while_typing = false;
        self
    }

    const fn shift(mut self, key: Key) -> Self {
        self.shortcut = Some(KeyboardShortcut::new(Modifiers::SHIFT, key));
        self.while_typing = false;
        self
    }

    /// A function key; always fires.
    const fn function(mut self, key: Key) -> Self {
        self.shortcut = Some(KeyboardShortcut::new(Modifiers::NONE, key));
        self
    }

    const fn on_mac(mut self, modifiers: Modifiers, key: Key) -> Self {
        self.mac = Some(KeyboardShortcut::new(modifiers, key));
        self
    }

    const fn within(mut self, tabs: &'static [Tab]) -> Self {
        self.tabs = tabs;
        self
    }

    /// Returns whether it acts on what is shown in `tab`.
    pub fn is_in(&self, tab: Tab) -> bool {
        self.tabs.is_empty() || self.tabs.contains(&tab)
    }

    /// Returns the shortcut on this platform.
    pub fn shortcut(&self, is_mac: bool) -> Option<KeyboardShortcut> {
        self.mac.filter(|_| is_mac).or(self.shortcut)
    }

    /// Returns the action of the command; `None` if it is disabled.
    pub fn action(&self, workbench: &Workbench) -> Option<Action> {
        // A key acts on what is on the screen, which is not always the chosen tab: the Presenter shows Tune's texts over every tab, except
        // over Find in mode Choose, whose candidates it shows and whose keys keep working.
        let tab = workbench.shown_tab();
        if !self.is_in(tab) {
            return None;
        }
        let running = workbench.is_running();
        let ready = workbench.module.is_ready();
        let neighbour = |step: isize| {
            let tuning = &workbench.tuning;
            let ids: Vec<&String> = tuning.points().map(|(record, _)| &record.id).collect();
            let (current, _) = tuning.current()?;
            let at = ids.iter().position(|id| **id == current.id)? as isize + step;
            let id = ids.get(usize::try_from(at).ok()?)?;
            Some(Action::SelectRun(Some((*id).clone())))
        };
        let pick = |candidate: usize| {
            let can_pick = workbench.chooses() && workbench.find.chooser.can_pick(candidate);
            can_pick.then_some(Action::Find(FindAction::Pick(candidate)))
        };
        match self.id {
            CommandId::Run => match tab {
                Tab::Tune => workbench.why_not_run().is_none().then_some(Action::Run),
                Tab::Sweep => workbench.next_sweep_action().map(Action::Sweep),
                Tab::Find => {
                    let off = match workbench.find.mode {
                        FindMode::Learn => workbench.why_not_learn().is_some(),
                        FindMode::Choose | FindMode::Search => workbench.why_not_search().is_some(),
                    };
                    (!off && workbench.find.working_mode().is_none()).then_some(Action::Find(FindAction::Start))
                }
                Tab::Doctor => (workbench.doctor.work.is_none() && !workbench.doctor.host.trim().is_empty())
                    .then_some(Action::Doctor(DoctorAction::Check)),
            },
            CommandId::Stop => match tab {
                Tab::Tune if running => Some(Action::Stop),
                Tab::Sweep => workbench.sweep.is_busy().then_some(Action::Sweep(SweepAction::Cancel)),
                Tab::Doctor => {
                    (workbench.doctor.work == Some(Work::Building)).then_some(Action::Doctor(DoctorAction::StopBuild))
                }
                Tab::Tune | Tab::Find => {
                    // The Presenter, which covers the button in Find, stops the work of any mode.
                    let finds = match workbench.presenting {
                        true => workbench.find.working_mode().is_some(),
                        false => tab == Tab::Find && workbench.find.is_busy(),
                    };
                    finds.then_some(Action::Find(FindAction::Stop))
                }
            },
            CommandId::RerunBaseline => (workbench.why_not_run().is_none()).then_some(Action::RerunBaseline),
            CommandId::ToggleLive => Some(Action::ToggleLive),
            CommandId::MagnitudeUp => Some(Action::ScaleMagnitude(1.02)),
            CommandId::MagnitudeDown => Some(Action::ScaleMagnitude(1.0 / 1.02)),
            CommandId::MagnitudeUpMore => Some(Action::ScaleMagnitude(1.2)),
            CommandId::MagnitudeDownMore => Some(Action::ScaleMagnitude(1.0 / 1.2)),
            CommandId::MagnitudeZero => Some(Action::SetMagnitude(0.0)),
            CommandId::MagnitudeReset => Some(Action::ResetMagnitude),
            CommandId::MoreVectors => {
                (workbench.prefix.len < workbench.max_len()).then(|| Action::SetLen(workbench.prefix.len + 1))
            }
            CommandId::FewerVectors => (workbench.prefix.len > 1).then(|| Action::SetLen(workbench.prefix.len - 1)),
            CommandId::NextMeasure => Some(Action::NextMeasure),
            CommandId::ToggleGranularity => Some(Action::ToggleGranularity),
            CommandId::ToggleKl => {
                let possible = match tab {
                    Tab::Sweep => workbench.pair_scores().is_ok(),
                    _ => workbench.why_not_kl().is_none(),
                };
                possible.then_some(Action::ToggleKl)
            }
            CommandId::FillCurve => {
                let possible = workbench.curve.progress().is_some() || workbench.why_not_fill().is_none();
                possible.then_some(Action::FillCurve)
            }
            CommandId::ShowRuns => Some(Action::ShowRuns(!workbench.runs_shown)),
            CommandId::MoreStars => workbench.with_stars(1),
            CommandId::FewerStars => workbench.with_stars(-1),
            CommandId::EditNote => workbench.rated_run().map(|_| Action::ShowDialog(Dialog::Note)),
            CommandId::AddToSweep => {
                let possible = !workbench.prompt.user.trim().is_empty() && !workbench.sweep.is_busy();
                possible.then_some(Action::Sweep(SweepAction::AddCurrentPrompt))
            }
            CommandId::Pin => match tab {
                Tab::Sweep if workbench.sweep.pinned.is_some() => Some(Action::Sweep(SweepAction::Unpin)),
                Tab::Sweep => workbench
                    .sweep
                    .selected
                    .as_ref()
                    .map(|_| Action::Sweep(SweepAction::Pin)),
                Tab::Tune if workbench.tuning.pinned().is_some() => Some(Action::Pin(None)),
                Tab::Tune => workbench.rated_run().map(|run| Action::Pin(Some(run.id.clone()))),
                Tab::Find | Tab::Doctor => None,
            },
            CommandId::NextDifference => workbench.difference().map(|_| Action::StepDifference(1)),
            CommandId::PreviousDifference => workbench.difference().map(|_| Action::StepDifference(-1)),
            CommandId::TextsAlone => Some(Action::ToggleTextsAlone),
            CommandId::PreviousRun => neighbour(-1),
            CommandId::NextRun => neighbour(1),
            // What the left pane shows: a pinned run, if there is one.
            CommandId::CopyBaseline => {
                (!workbench.left().text.is_empty()).then_some(Action::CopyText(crate::model::RunKind::Baseline))
            }
            CommandId::CopyPrefixed => {
                (!workbench.prefixed.text.is_empty()).then_some(Action::CopyText(crate::model::RunKind::Prefixed))
            }
            CommandId::Open => (!workbench.file.asking).then_some(Action::Open),
            CommandId::Export => workbench.can_export().then_some(Action::Export(Format::Results)),
            CommandId::NewSession => (!workbench.tuning.is_empty()).then_some(Action::NewSession),
            CommandId::UseFound => {
                let possible = workbench.found_prefix().is_some();
                possible.then_some(Action::Find(FindAction::UseInTune))
            }
            CommandId::PickFirst => pick(0),
            CommandId::PickSecond => pick(1),
            CommandId::PickThird => pick(2),
            CommandId::PickFourth => pick(3),
            CommandId::StepBack => {
                let number = workbench
                    .find
                    .chooser
                    .number()
                    .filter(|number| *number > 1 && workbench.chooses())?;
                Some(Action::Find(FindAction::StepBack(number - 1)))
            }
            CommandId::Connect => Some(Action::ShowDialog(Dialog::Connect)),
            CommandId::Reconnect => {
                let possible = ready || matches!(workbench.module, ModuleState::Failed { .. } | ModuleState::Idle);
                possible.then_some(Action::Reconnect)
            }
            CommandId::Models => Some(Action::ShowDialog(Dialog::Models)),
            CommandId::ToggleTheme => Some(Action::ToggleTheme),
            CommandId::ToggleLanguage => Some(Action::ToggleLanguage),
            CommandId::ZoomIn => Some(Action::ZoomIn),
            CommandId::ZoomOut => Some(Action::ZoomOut),
            CommandId::ZoomReset => Some(Action::ZoomReset),
            CommandId::ShowTune => Some(Action::ShowTab(Tab::Tune)),
            CommandId::ShowSweep => Some(Action::ShowTab(Tab::Sweep)),
            CommandId::ShowFind => Some(Action::ShowTab(Tab::Find)),
            CommandId::ShowDoctor => Some(Action::ShowTab(Tab::Doctor)),
            CommandId::Present => Some(Action::Present(!workbench.presenting)),
            CommandId::Exhibit => Some(Action::Exhibit(ExhibitionAction::Toggle)),
            CommandId::PlayDemo => Some(Action::Playback(PlaybackAction::Demo)),
            CommandId::ToggleRecording => workbench.playback.is_none().then_some(Action::ToggleRecording),
            CommandId::OpenRecording => (!workbench.file.asking).then_some(Action::Playback(PlaybackAction::Open)),
            CommandId::ToggleFullscreen => Some(Action::ToggleFullscreen),
            CommandId::Settings => Some(Action::ShowSettings(!workbench.settings_open)),
            CommandId::Help => Some(Action::ShowDialog(Dialog::Help)),
            CommandId::Quit => Some(Action::Quit),
        }
    }
}

/// The table, in the order of the help sheet.
pub const COMMANDS: [Command; 59] = [
    row(CommandId::Run, Group::Run).cmd(Key::Enter),
    row(CommandId::Stop, Group::Run).cmd(Key::Period),
    row(CommandId::RerunBaseline, Group::Run).cmd(Key::B).within(TUNE),
    row(CommandId::ToggleLive, Group::Run).cmd(Key::L),
    row(CommandId::MagnitudeUp, Group::Prefix)
        .key(Key::CloseBracket)
        .within(TUNE),
    row(CommandId::MagnitudeDown, Group::Prefix)
        .key(Key::OpenBracket)
        .within(TUNE),
    row(CommandId::MagnitudeUpMore, Group::Prefix)
        .key(Key::CloseCurlyBracket)
        .within(TUNE),
    row(CommandId::MagnitudeDownMore, Group::Prefix)
        .key(Key::OpenCurlyBracket)
        .within(TUNE),
    row(CommandId::MagnitudeZero, Group::Prefix).key(Key::Num0).within(TUNE),
    row(CommandId::MagnitudeReset, Group::Prefix)
        .key(Key::Num1)
        .within(TUNE),
    row(CommandId::MoreVectors, Group::Prefix).key(Key::P).within(TUNE),
    row(CommandId::FewerVectors, Group::Prefix).shift(Key::P).within(TUNE),
    row(CommandId::NextMeasure, Group::Results).key(Key::M).within(OUTPUTS),
    row(CommandId::ToggleGranularity, Group::Results)
        .key(Key::G)
        .within(OUTPUTS),
    row(CommandId::ToggleKl, Group::Results).key(Key::K).within(OUTPUTS),
    row(CommandId::FillCurve, Group::Run).key(Key::F).within(TUNE),
    row(CommandId::AddToSweep, Group::Run).key(Key::A).within(OUTPUTS),
    row(CommandId::ShowRuns, Group::Results).key(Key::R).within(TUNE),
    row(CommandId::MoreStars, Group::Results).key(Key::S).within(OUTPUTS),
    row(CommandId::FewerStars, Group::Results).shift(Key::S).within(OUTPUTS),
    row(CommandId::EditNote, Group::Results).key(Key::E).within(OUTPUTS),
    row(CommandId::Pin, Group::Results).key(Key::V).within(OUTPUTS),
    row(CommandId::NextDifference, Group::Results)
        .key(Key::N)
        .within(OUTPUTS),
    row(CommandId::PreviousDifference, Group::Results)
        .shift(Key::N)
        .within(OUTPUTS),
    row(CommandId::TextsAlone, Group::Results).key(Key::T).within(OUTPUTS),
    row(CommandId::PreviousRun, Group::Results).key(Key::Comma).within(TUNE),
    row(CommandId::NextRun, Group::Results).key(Key::Period).within(TUNE),
    row(CommandId::CopyBaseline, Group::Results)
        .cmd_shift(Key::B)
        .within(TUNE),
    row(CommandId::CopyPrefixed, Group::Results)
        .cmd_shift(Key::C)
        .within(TUNE),
    row(CommandId::Open, Group::Results).cmd(Key::O),
    row(CommandId::Export, Group::Results).cmd(Key::S),
    row(CommandId::NewSession, Group::Results).cmd(Key::N),
    row(CommandId::UseFound, Group::Find).key(Key::U).within(FIND),
    row(CommandId::PickFirst, Group::Find).key(Key::Num1).within(FIND),
    row(CommandId::PickSecond, Group::Find).key(Key::Num2).within(FIND),
    row(CommandId::PickThird, Group::Find).key(Key::Num3).within(FIND),
    row(CommandId::PickFourth, Group::Find).key(Key::Num4).within(FIND),
    row(CommandId::StepBack, Group::Find).key(Key::Backspace).within(FIND),
    row(CommandId::Connect, Group::Module).cmd(Key::K),
    row(CommandId::Reconnect, Group::Module).cmd(Key::R),
    // On a Mac, Cmd+M is for minimising.
    row(CommandId::Models, Group::Module)
        .cmd(Key::M)
        .on_mac(Modifiers::COMMAND.plus(Modifiers::SHIFT), Key::M),
    row(CommandId::ToggleTheme, Group::Window).cmd(Key::D),
    row(CommandId::ToggleLanguage, Group::Window).cmd(Key::J),
    row(CommandId::ZoomIn, Group::Window).cmd(Key::Plus),
    row(CommandId::ZoomOut, Group::Window).cmd(Key::Minus),
    row(CommandId::ZoomReset, Group::Window).cmd(Key::Num0),
    row(CommandId::ShowTune, Group::Window).cmd(Key::Num1),
    row(CommandId::ShowSweep, Group::Window).cmd(Key::Num2),
    row(CommandId::ShowFind, Group::Window).cmd(Key::Num3),
    row(CommandId::ShowDoctor, Group::Window).cmd(Key::Num4),
    row(CommandId::Present, Group::Window).function(Key::F5),
    row(CommandId::Exhibit, Group::Window).function(Key::F6),
    row(CommandId::PlayDemo, Group::Window).function(Key::F7),
    row(CommandId::ToggleRecording, Group::Results).cmd_shift(Key::R),
    row(CommandId::OpenRecording, Group::Results).cmd_shift(Key::O),
    row(CommandId::ToggleFullscreen, Group::Window)
        .function(Key::F11)
        .on_mac(Modifiers::MAC_CMD.plus(Modifiers::CTRL), Key::F),
    row(CommandId::Settings, Group::Window).cmd(Key::Comma),
    row(CommandId::Help, Group::Window).key(Key::Questionmark),
    row(CommandId::Quit, Group::Window).cmd(Key::Q),
];

/// Returns the row of `id`.
pub fn command(id: CommandId) -> &'static Command {
    static TABLE: [Command; 59] = COMMANDS;
    // A test checks that the table contains every id; the first row is a fallback.
    TABLE.iter().find(|command| command.id == id).unwrap_or(&TABLE[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_is_in_the_table_once_and_has_its_own_key_in_a_tab() {
        let mut ids: Vec<_> = COMMANDS.iter().map(|command| command.id).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), COMMANDS.len());
        for is_mac in [false, true] {
            let keys: Vec<_> = COMMANDS.iter().filter_map(|command| command.shortcut(is_mac)).collect();
            assert_eq!(keys.len(), COMMANDS.len(), "every command has a key");
            for tab in [Tab::Tune, Tab::Sweep, Tab::Find, Tab::Doctor] {
                let here = COMMANDS.iter().filter(|command| command.is_in(tab));
                let keys: Vec<_> = here.filter_map(|command| command.shortcut(is_mac)).collect();
                for (at, key) in keys.iter().enumerate() {
                    assert!(!keys[at + 1..].contains(key), "{key:?} is in {tab:?} twice");
                }
            }
        }
        for group in Group::ALL {
            assert!(COMMANDS.iter().any(|command| command.group == group));
        }
    }

    #[test]
    fn a_key_acts_on_the_tab_that_is_shown() {
        // Keys without a modifier that do the same in every tab.
        let everywhere = [
            CommandId::Present,
            CommandId::Exhibit,
            CommandId::PlayDemo,
            CommandId::ToggleFullscreen,
            CommandId::Help,
        ];
        for command in &COMMANDS {
            let is_bare = command.shortcut(false).is_some_and(|keys| !keys.modifiers.command);
            if is_bare && command.tabs.is_empty() {
                assert!(everywhere.contains(&command.id), "{:?}", command.id);
            }
        }
        let mut workbench = Workbench::new(crate::model::Remembered::default());
        for (tab, mode, changes) in [
            (Tab::Tune, FindMode::Choose, true),
            (Tab::Sweep, FindMode::Choose, false),
            (Tab::Find, FindMode::Learn, false),
            (Tab::Find, FindMode::Choose, false),
            (Tab::Doctor, FindMode::Learn, false),
        ] {
            workbench.tab = tab;
            workbench.find.mode = mode;
            for id in [
                CommandId::MagnitudeReset,
                CommandId::MagnitudeZero,
                CommandId::MagnitudeUp,
                CommandId::MoreVectors,
                CommandId::ShowRuns,
            ] {
                assert_eq!(
                    command(id).action(&workbench).is_some(),
                    changes,
                    "{id:?} in {tab:?}, {mode:?}"
                );
            }
        }
        // The Presenter shows Tune's texts, or the candidates of Choose.
        workbench.presenting = true;
        for (mode, shown) in [(FindMode::Learn, Tab::Tune), (FindMode::Choose, Tab::Find)] {
            workbench.tab = Tab::Find;
            workbench.find.mode = mode;
            assert_eq!(workbench.shown_tab(), shown);
        }
    }

    #[test]
    fn a_mac_has_its_own_keys_and_none_that_the_system_takes() {
        // Hide, minimise, the next window, and what Mission Control and Spotlight take.
        let taken = [
            (Key::H, "hide"),
            (Key::M, "minimise"),
            (Key::Backtick, "next window"),
            (Key::Space, "Spotlight"),
        ];
        for row in &COMMANDS {
            let Some(shortcut) = row.shortcut(true) else { continue };
            let is_command = shortcut.modifiers.command && !shortcut.modifiers.ctrl && !shortcut.modifiers.shift;
            for (key, of) in taken {
                assert!(!(is_command && shortcut.logical_key == key), "{:?}: {of}", row.id);
            }
            assert_ne!(shortcut.logical_key, Key::F11, "{:?}: shows the desktop", row.id);
        }
        let keys = |id, is_mac| command(id).shortcut(is_mac).unwrap();
        let full = keys(CommandId::ToggleFullscreen, true);
        assert!(full.modifiers.mac_cmd && full.modifiers.ctrl && full.logical_key == Key::F);
        assert_eq!(keys(CommandId::ToggleFullscreen, false).logical_key, Key::F11);
        for is_mac in [false, true] {
            for (id, key) in [(CommandId::Settings, Key::Comma), (CommandId::Quit, Key::Q)] {
                assert_eq!(keys(id, is_mac), KeyboardShortcut::new(Modifiers::COMMAND, key));
            }
        }
    }
}
