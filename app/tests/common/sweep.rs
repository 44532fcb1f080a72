//! Sweeps for tests of the window: plans, runs and records as the bridge reports them.

use std::time::Duration;

use softprefix::messages::{Event, SweepEvent};
use softprefix::model::{Language, Theme};
use softprefix::workbench::sweep::Stage;
use softprefix::workbench::{Action, SweepAction, Tab, Workbench};
use softprefix_core::experiment::journal::JOURNAL_VERSION;
use softprefix_core::experiment::{
    Answer, Case, CaseOutcome, Experiment, ModuleIdentity, PrefixIdentity, Record, RunEnd, RunEvent, RunProgress,
};
use softprefix_core::prefix::Magnitude;
use softprefix_core::protocol::extension::FinishReason;

pub fn ready(language: Language) -> Workbench {
    let mut workbench = super::ready(language, Theme::Dark);
    workbench.apply(Action::ShowTab(Tab::Sweep));
    workbench
}

pub fn sweep_event(workbench: &mut Workbench, event: SweepEvent) {
    workbench.absorb(Event::Sweep(Box::new(event)));
}

pub fn run_event(workbench: &mut Workbench, event: RunEvent) {
    sweep_event(workbench, SweepEvent::Run(event));
}

/// A record of a case as a unit would answer it.
pub fn record(experiment: &Experiment, case: &Case) -> Record {
    let size = case.recipe.as_ref().map(|recipe| match recipe.magnitude {
        Magnitude::TokenNorms(size) | Magnitude::Raw(size) => size,
        Magnitude::Unscaled => 1.0,
    });
    let text = match size {
        None => super::BASELINE.to_owned(),
        Some(size) if size > 5.0 => "花が咲き".repeat(12),
        Some(_) => super::PREFIXED.to_owned(),
    };
    let plan = experiment.plan.as_ref().unwrap();
    Record {
        prefix: case.recipe.as_ref().map(|recipe| PrefixIdentity {
            recipe: recipe.clone(),
            len: recipe.len,
            hidden_size: 896,
            sha256: "0".repeat(64),
            row_norms: [1.0; 3],
            token_norms: size.map(f64::abs),
        }),
        started_unix: 1_795_406_700.0,
        ..Record::new(
            &experiment.id,
            case.clone(),
            plan.prompts[case.prompt].clone(),
            plan.settings.clone(),
            experiment.module.clone(),
            CaseOutcome::Done(Answer::new(text, FinishReason::Stop, 0.5)),
        )
    }
}

/// The experiment of the plan of the fields.
fn experiment(workbench: &Workbench, module: ModuleIdentity) -> Experiment {
    Experiment {
        version: JOURNAL_VERSION,
        id: "e".to_owned(),
        name: "Spring".to_owned(),
        started_unix: 1_795_406_700.0,
        plan: Some(workbench.sweep_plan()),
        module,
    }
}

/// A sweep of which the first `done` cases are finished.
pub fn running(language: Language, done: usize) -> Workbench {
    let mut workbench = ready(language);
    workbench.apply(Action::Sweep(SweepAction::SetMagnitudes("0, 1, 12".to_owned())));
    workbench.apply(Action::Sweep(SweepAction::Start));
    assert_eq!(workbench.sweep.stage, Stage::Starting);
    let module = ModuleIdentity {
        model: super::facts().identity.model,
        ..ModuleIdentity::default()
    };
    let experiment = experiment(&workbench, module);
    run_event(&mut workbench, RunEvent::Started(Box::new(experiment.clone())));
    let cases = experiment.plan.as_ref().unwrap().cases().unwrap();
    for case in &cases[..done] {
        let (index, name) = (case.index, case.name.clone());
        run_event(&mut workbench, RunEvent::CaseStarted { index, name });
        run_event(
            &mut workbench,
            RunEvent::CaseFinished(Box::new(record(&experiment, case))),
        );
    }
    if let Some(next) = cases.get(done) {
        let (index, name) = (next.index, next.name.clone());
        run_event(&mut workbench, RunEvent::CaseStarted { index, name });
    }
    let progress = RunProgress {
        finished: done,
        total: cases.len(),
        running: 1,
        left: Some(Duration::from_secs(240)),
        ..RunProgress::default()
    };
    run_event(&mut workbench, RunEvent::Progress(progress));
    super::settle(&mut workbench, &|_| String::new());
    workbench
}

/// Runs the plan of the fields to its end; `text_of` gives the text of a case where it is another than usual.
pub fn ended(mut workbench: Workbench, text_of: impl Fn(&Case) -> Option<String>) -> Workbench {
    workbench.apply(Action::Sweep(SweepAction::Start));
    let experiment = experiment(&workbench, super::facts().identity);
    run_event(&mut workbench, RunEvent::Started(Box::new(experiment.clone())));
    for case in experiment.plan.as_ref().unwrap().cases().unwrap() {
        let mut done = record(&experiment, &case);
        if let (Some(text), CaseOutcome::Done(answer)) = (text_of(&case), &mut done.outcome) {
            answer.text = text;
        }
        run_event(&mut workbench, RunEvent::CaseFinished(Box::new(done)));
    }
    run_event(&mut workbench, RunEvent::Ended(RunEnd::Complete));
    super::settle(&mut workbench, &|_| String::new());
    workbench
}

/// A sweep over two prompts that has ended; the second prompt's texts never leave their baseline.
pub fn over_two_prompts(language: Language) -> Workbench {
    let mut workbench = ready(language);
    workbench.apply(Action::Sweep(SweepAction::SetMagnitudes("0, 1, 12".to_owned())));
    workbench.apply(Action::Sweep(SweepAction::AddPreset(2)));
    let of_second = |case: &Case| (case.prompt == 1).then(|| super::BASELINE.to_owned());
    let mut workbench = ended(workbench, of_second);
    workbench.apply(Action::Sweep(SweepAction::ShowPrompt(0)));
    super::settle(&mut workbench, &|_| String::new());
    workbench
}
