//! `softprefix play`: the workbench without its window, controlled by other programs through a pipe, over OSC, or both.
//! What they send goes the same way as in the window, and every run is in the history that the window shows.

use std::io::{self, BufRead, Read as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use softprefix_core::prefix::Magnitude;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until};

use super::args::{PromptArgs, TargetArgs};
use super::prefix::FirstPrefixArgs;
use super::running::{Interrupts, Terminal};
use super::shell::{Failure, in_json};
use crate::bridge::Bridge;
use crate::messages::{Event, ExternalEvent, ExternalRequest, LibraryRequest, MaterialRequest, Request};
use crate::model::{
    ExternalCommand, ExternalError, ExternalState, KindChoice, LIVE_DELAY, Language, MAX_LINE_LENGTH, ModuleState,
    Notification, PRESETS, PrefixForm, PromptForm, Received, Remembered, Retry, Unavailable,
};
use crate::places;
use crate::session::OpenStep;
use crate::start::{Exit, ExternalArgs};
use crate::text::{ExternalText, Text};
use crate::workbench::external::Link;
use crate::workbench::{Action, Notice, Workbench};

/// Maximum number of lines that are read ahead, so that a fast writer does not fill the memory: the pipe makes it wait.
const MAX_LINES_AHEAD: usize = 64;
/// Maximum wait on exit until the module has released the task: a module that answers does so in less than a second.
const EXIT_TIMEOUT: Duration = Duration::from_secs(4);

#[derive(Debug, Args)]
#[command(
    mut_arg("user", |arg| {
        arg.required(false).default_value(PRESETS[0].user).help("The user prompt at the beginning")
    }),
    mut_arg("len", |arg| arg.help("P at the beginning: rows of the prefix [default: as many as the file has, else 1]")),
    mut_arg("token_norms", |arg| {
        arg.help("Magnitude at the beginning, in token norms [default: rows of words and files as they are, others 1]")
    }),
    mut_arg("raw", |arg| arg.help("Magnitudes are raw values, and this one is the first"))
)]
pub struct PlayArgs {
    /// Read commands from standard input, one JSON object per line: {"magnitude": 0.5, "run": true}. The keys are magnitude, p, seed, row/N,
    /// blend, prompt, preset and run.
    #[arg(long)]
    stdin: bool,
    #[command(flatten)]
    external: ExternalArgs,
    #[command(flatten)]
    module: TargetArgs,
    #[command(flatten)]
    prompt: PromptArgs,
    #[command(flatten)]
    first: FirstPrefixArgs,
    /// Run whenever the prefix changes, at most every 150 ms; without it, only `run` runs.
    #[arg(long)]
    live: bool,
}

impl PlayArgs {
    /// Returns the fields of the workbench.
    fn remembered(&self) -> Result<Remembered, Failure> {
        let recipe = self.first.recipe(1)?;
        if KindChoice::of(&recipe.kind).is_none() {
            return Err(Failure::arguments(
                "Rows of this kind cannot be changed while playing; choose another --kind.",
            ));
        }
        let is_usable = match recipe.magnitude {
            Magnitude::TokenNorms(norms) => norms.is_finite() && norms >= 0.0,
            Magnitude::Raw(raw) => raw.is_finite(),
            Magnitude::Unscaled => true,
        };
        if !is_usable {
            return Err(Failure::arguments(
                "The magnitude must be a finite number, in token norms at least 0; give one such as 1.5.",
            ));
        }
        let mut prefix = PrefixForm::default();
        prefix.take_recipe(&recipe);
        let mut remembered = Remembered {
            prefix,
            prompt: PromptForm {
                system: self.prompt.system.clone(),
                user: self.prompt.user.clone(),
                max_tokens: self.prompt.max_tokens as usize,
                ..PromptForm::default()
            },
            ..Remembered::default()
        };
        remembered.settings.live = self.live;
        remembered.settings.raw_magnitude = matches!(recipe.magnitude, Magnitude::Raw(_));
        Ok(remembered.within_bounds())
    }
}

pub fn run(args: PlayArgs) -> Result<Exit, Failure> {
    if !args.stdin && args.external.osc.is_none() {
        return Err(Failure::arguments(
            "There is no input: give --stdin, --osc ADDR, or both.",
        ));
    }
    let remembered = args.remembered()?;
    Terminal::work("what was finished is in the history.", async |terminal| {
        let woken = Arc::new(Notify::new());
        let wake = Arc::clone(&woken);
        let bridge = Bridge::start(move || wake.notify_one()).map_err(|error| Failure {
            exit: Exit::Module,
            message: format!("No thread can be started ({error}). Close other programs and try again."),
        })?;
        let mut player = Player {
            workbench: Workbench::new(remembered),
            bridge,
            woken,
            pending: Received::default(),
            next_delivery: Instant::now(),
            lines_read: 0,
            first_failure: None,
            is_stdout_open: true,
            reported_retry: None,
        };
        let outcome = player.play(&args, &terminal).await;
        player.bridge.shutdown(EXIT_TIMEOUT);
        outcome
    })
}

/// A line of standard input.
type Line = Result<String, ExternalError>;

/// The workbench and its bridge.
struct Player {
    workbench: Workbench,
    bridge: Bridge,
    /// Notified when an event of the bridge can be received.
    woken: Arc<Notify>,
    /// Commands that were read and are not applied yet.
    pending: Received,
    /// The earliest time at which they are applied.
    next_delivery: Instant,
    /// Number of lines read.
    lines_read: u64,
    /// Exit status of the first line that was refused, run that failed or could not be started, or lost connection.
    first_failure: Option<Exit>,
    /// Whether what is printed can still be read: `false` once the reader of standard output has closed it.
    is_stdout_open: bool,
    /// The last attempt to reconnect that was reported.
    reported_retry: Option<Retry>,
}

impl Player {
    async fn play(&mut self, args: &PlayArgs, terminal: &Terminal) -> Result<Exit, Failure> {
        let mut interrupts = terminal.interrupts();
        if !self.connect(&args.module, terminal, &mut interrupts).await? {
            return Ok(Exit::Interrupted);
        }
        if let Some(facts) = self.workbench.module.facts() {
            args.first.prefix.store_file(facts.hidden_size())?;
            terminal.print_module(facts);
        }
        if !self.open_sockets(&args.external, terminal, &mut interrupts).await? {
            return Ok(Exit::Interrupted);
        }
        self.workbench.notify_pipe();
        let mut lines = args.stdin.then(read_lines);
        loop {
            self.process_events()?;
            // As for any program at the head of a pipe, this is a usual end.
            if !self.is_stdout_open {
                return Ok(Exit::Success);
            }
            // It is not being reconnected, so no command can be obeyed any more.
            if let ModuleState::Failed {
                problem, retry: None, ..
            } = &self.workbench.module
            {
                return Err(problem.clone().into());
            }
            self.report_reconnecting(terminal);
            let is_idle = self.pending.is_empty() && self.workbench.external.state() != Some(ExternalState::Running);
            if args.stdin && lines.is_none() && is_idle {
                return Ok(self.first_failure.unwrap_or(Exit::Success));
            }
            tokio::select! {
                () = self.woken.notified() => {}
                line = next(&mut lines) => match line {
                    Some(line) => self.parse(line)?,
                    None => lines = None,
                },
                () = sleep_until(self.next_delivery), if !self.pending.is_empty() => {
                    self.next_delivery = Instant::now() + LIVE_DELAY;
                    let received = ExternalEvent::Received(std::mem::take(&mut self.pending));
                    self.absorb(Event::External(Box::new(received)))?;
                }
                () = interrupts.at_least(1) => return Ok(Exit::Interrupted),
            }
        }
    }

    /// Connects to the module and sets up its model; returns `false` after Ctrl-C.
    async fn connect(
        &mut self,
        args: &TargetArgs,
        terminal: &Terminal,
        interrupts: &mut Interrupts,
    ) -> Result<bool, Failure> {
        let folder = places::prefix_store().folder().to_owned();
        let store = MaterialRequest::UsePrefixStore { folder };
        self.bridge.send(Request::Material(Box::new(store)));
        self.bridge.send(Request::Library(LibraryRequest::Open {
            folder: places::library(),
            old: places::old_history(),
        }));
        self.workbench.apply(Action::Connect(args.target()));
        let mut may_exit_tasks = args.exit_tasks;
        loop {
            while let Some(event) = self.bridge.poll() {
                if let Some(step) = step_of(&event) {
                    terminal.show_step(&step);
                }
                let is_full = matches!(event, Event::TaskFull { .. });
                self.workbench.absorb(event);
                // Only once: tasks that are there again belong to a client that is at work.
                if is_full && std::mem::take(&mut may_exit_tasks) {
                    self.workbench.apply(Action::ExitLeftOverTasks);
                } else if is_full {
                    return Err(self.task_full());
                }
            }
            match &self.workbench.module {
                ModuleState::Ready(_) => break,
                ModuleState::Failed { problem, .. } | ModuleState::NoModel { problem: Some(problem) } => {
                    return Err(problem.clone().into());
                }
                // It is still being opened. (Without a problem, `NoModel` is a download that was cancelled, which only the window does.)
                ModuleState::Idle
                | ModuleState::Fetching(_)
                | ModuleState::Loading { .. }
                | ModuleState::Connecting { .. }
                | ModuleState::TaskFull { .. }
                | ModuleState::NoModel { problem: None } => {}
            }
            self.bridge.send_all(self.workbench.take_requests());
            tokio::select! {
                () = self.woken.notified() => {}
                () = interrupts.at_least(1) => return Ok(false),
            }
        }
        terminal.clear();
        Ok(true)
    }

    fn task_full(&self) -> Failure {
        let tasks = match &self.workbench.module {
            ModuleState::TaskFull { tasks } => tasks.join(", "),
            _ => String::new(),
        };
        Failure {
            exit: Exit::Module,
            message: format!(
                "All task slots of the module are taken ({tasks}). If a former client left them, exit them with --exit-tasks."
            ),
        }
    }

    /// Opens the sockets for OSC, if any are asked for, and prints the address of the one that receives; returns `false` after Ctrl-C.
    async fn open_sockets(
        &mut self,
        external: &ExternalArgs,
        terminal: &Terminal,
        interrupts: &mut Interrupts,
    ) -> Result<bool, Failure> {
        let text = ExternalText::of(Language::English);
        let sentences = [
            (&external.osc, text.receives_from_anyone),
            (&external.osc_to, text.sends_elsewhere),
        ];
        for (endpoint, sentence) in sentences {
            if let Some(endpoint) = endpoint.as_ref().filter(|endpoint| !endpoint.is_loopback()) {
                terminal.print_line(&sentence(&endpoint.to_string()));
            }
        }
        for action in external.actions() {
            self.workbench.apply(action);
        }
        self.process_events()?;
        // The names of hosts are looked up, which can take seconds.
        while self.workbench.external.link == Link::Opening {
            tokio::select! {
                () = self.woken.notified() => {}
                () = interrupts.at_least(1) => return Ok(false),
            }
            while let Some(event) = self.bridge.poll() {
                self.workbench.absorb(event);
            }
        }
        match (&self.workbench.external.link, self.workbench.notice.take()) {
            (Link::Off, Some(Notice::Problem(problem))) => return Err(problem.into()),
            (
                Link::Open {
                    listen: Some(address), ..
                },
                _,
            ) => terminal.print_line(&(text.listening)(&address.to_string())),
            // Nothing is received over OSC.
            _ => {}
        }
        Ok(true)
    }

    /// Reports on standard error that a lost module is being reconnected, and when it is back; `state` reports it on standard output.
    fn report_reconnecting(&mut self, terminal: &Terminal) {
        match &self.workbench.module {
            ModuleState::Failed {
                problem,
                retry: Some(retry),
                ..
            } if self.reported_retry != Some(*retry) => {
                let trying = (Text::of(Language::English).reconnecting)(*retry);
                if self.reported_retry.replace(*retry).is_none() {
                    terminal.print_line(&problem.sentence.en);
                }
                terminal.print_line(&trying);
            }
            ModuleState::Ready(facts) if self.reported_retry.take().is_some() => terminal.print_module(facts),
            _ => {}
        }
    }

    /// Handles the events of the bridge, and forwards the workbench's requests to it.
    fn process_events(&mut self) -> Result<(), Failure> {
        while let Some(event) = self.bridge.poll() {
            self.absorb(event)?;
        }
        self.forward_requests()
    }

    /// Passes an event to the workbench, and prints what follows from it.
    fn absorb(&mut self, event: Event) -> Result<(), Failure> {
        let is_run = matches!(&event, Event::External(event) if matches!(&**event, ExternalEvent::Received(received)
            if received.commands.contains(&ExternalCommand::Run(true))));
        self.workbench.absorb(event);
        self.forward_requests()?;
        if is_run
            && !self.workbench.is_running()
            && let Some(why) = self.workbench.why_not_run()
        {
            let exit = match why {
                Unavailable::StillConnecting | Unavailable::NotConnected => Exit::Module,
                _ => Exit::BadArguments,
            };
            let why = (Text::of(Language::English).unavailable)(why);
            self.print_error(exit, json!({"error": format!("It was not run: {why}")}))?;
        }
        if let Some(Notice::Problem(problem)) = self.workbench.notice.take() {
            let Failure { exit, message } = problem.into();
            self.print_error(exit, json!({"error": message}))?;
        }
        Ok(())
    }

    /// Forwards the workbench's requests to the bridge, and prints its notifications.
    fn forward_requests(&mut self) -> Result<(), Failure> {
        for request in self.workbench.take_requests() {
            match &request {
                Request::External(ExternalRequest::Notify(failed @ Notification::Error(_))) => {
                    self.print_error(Exit::Module, failed.to_json())?;
                }
                Request::External(ExternalRequest::Notify(notification)) => self.print(&notification.to_json())?,
                _ => {}
            }
            self.bridge.send(request);
        }
        Ok(())
    }

    /// Parses a line, whose commands then wait for the next delivery.
    fn parse(&mut self, line: Line) -> Result<(), Failure> {
        self.lines_read += 1;
        let commands = match line {
            Ok(line) if line.trim().is_empty() => return Ok(()),
            Ok(line) => ExternalCommand::parse_line(&line),
            Err(error) => Err(error),
        };
        if let Err(error) = &commands {
            let line = self.lines_read;
            self.print_error(
                Exit::BadArguments,
                json!({"error": format!("Line {line}: {error}."), "line": line}),
            )?;
        }
        self.pending.add(commands);
        Ok(())
    }

    /// Prints an error. The first one gives the exit status.
    fn print_error(&mut self, exit: Exit, line: Value) -> Result<(), Failure> {
        self.first_failure.get_or_insert(exit);
        self.print(&line)
    }

    /// Prints a line, unless the reader has closed standard output.
    fn print(&mut self, line: &Value) -> Result<(), Failure> {
        let line = in_json(Ok(line.to_string()))?;
        let mut out = io::stdout().lock();
        self.is_stdout_open &= writeln!(out, "{line}").and_then(|()| out.flush()).is_ok();
        Ok(())
    }
}

/// Returns the step of opening a module that an event reports.
fn step_of(event: &Event) -> Option<OpenStep> {
    Some(match event {
        Event::Connecting(step) => OpenStep::Connecting(*step),
        Event::Fetching(progress) => OpenStep::Fetching(progress.clone()),
        Event::Loading { model, fraction, stage } => OpenStep::Loading {
            model: model.clone(),
            fraction: *fraction,
            stage: *stage,
        },
        _ => return None,
    })
}

/// Reads standard input on a separate thread, at most [`MAX_LINES_AHEAD`] lines ahead. An input that cannot be read ends with that error.
fn read_lines() -> mpsc::Receiver<Line> {
    let (sender, lines) = mpsc::channel(MAX_LINES_AHEAD);
    std::thread::spawn(move || {
        let mut input = io::stdin().lock();
        loop {
            let line = read_line(&mut input);
            let is_last = !matches!(line, Ok(Some(_)));
            let line = line.unwrap_or_else(|error| Some(Err(ExternalError::Unreadable(error.to_string()))));
            let Some(line) = line else { return };
            if sender.blocking_send(line).is_err() || is_last {
                return;
            }
        }
    });
    lines
}

/// Reads a line; `None` at the end. One of more than [`MAX_LINE_LENGTH`] bytes is an error, and is skipped without keeping it in memory.
fn read_line(input: &mut impl BufRead) -> io::Result<Option<Line>> {
    let mut line = Vec::new();
    let mut read = |line: &mut Vec<u8>| input.take(MAX_LINE_LENGTH as u64 + 1).read_until(b'\n', line);
    if read(&mut line)? == 0 {
        return Ok(None);
    }
    if line.len() > MAX_LINE_LENGTH && !line.ends_with(b"\n") {
        loop {
            line.clear();
            if read(&mut line)? == 0 || line.ends_with(b"\n") {
                return Ok(Some(Err(ExternalError::TooLong)));
            }
        }
    }
    Ok(Some(String::from_utf8(line).map_err(|_| ExternalError::NotUtf8)))
}

/// Returns the next line, or `None` at the end of the input. Never returns if there is no input, so that `select!` waits for the rest.
async fn next(lines: &mut Option<mpsc::Receiver<Line>>) -> Option<Line> {
    match lines {
        Some(lines) => lines.recv().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_bounded_and_the_one_after_a_long_one_is_read() {
        let longest = "x".repeat(MAX_LINE_LENGTH - 1);
        let long = "y".repeat(3 * MAX_LINE_LENGTH + 5);
        let input = [format!("{longest}\n{long}\n\nafter\n").as_bytes(), b"\xff\xfelast"].concat();
        let mut input = &input[..];
        let mut next = || read_line(&mut input).unwrap();
        assert_eq!(next(), Some(Ok(format!("{longest}\n"))));
        assert_eq!(next(), Some(Err(ExternalError::TooLong)));
        assert_eq!(next(), Some(Ok("\n".to_owned())));
        assert_eq!(next(), Some(Ok("after\n".to_owned())));
        assert_eq!(next(), Some(Err(ExternalError::NotUtf8)));
        assert_eq!(next(), None);
    }

    #[test]
    fn an_input_that_cannot_be_read_is_an_error_and_not_its_end() {
        struct Broken;
        impl io::Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("input/output error"))
            }
        }
        assert!(read_line(&mut io::BufReader::new(Broken)).is_err());
    }
}
