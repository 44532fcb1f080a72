//! `softprefix learn`: learns the rows of a prefix that makes the model give a wanted answer, and writes them to a
//! prefix file. The file contains the best rows so far at every moment, so that they survive a lost module.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use softprefix_core::client::{ClientError, InferenceRequest, Task};
use softprefix_core::experiment::{LearnPlan, Settings};
use softprefix_core::prefix::{Rounding, SoftPrefix, encode, files};
use softprefix_core::protocol::learn::{
    DEFAULT_ROWS, DEFAULT_STEPS, Example, Init, LearnEnd, LearnFrame, LearnLoss, LearnRequest, NormLimit,
};

use super::args::TargetArgs;
use super::prefix::file_failure;
use super::running::{Terminal, still_left};
use super::shell::{Failure, above_zero, at_least_one, print, writable};
use crate::model::PRESETS;
use crate::places;
use crate::session::learning::{Learner, TOKENS_BEYOND_TARGET, examples, text_of};
use crate::session::{Opening, Session};
use crate::start::Exit;

#[derive(Debug, Args)]
#[command(mut_arg("module", |arg| {
    arg.help("Where to learn: `embedded`, or HOST or HOST:PORT of a softprefix-unit with the CPU engine")
}))]
pub struct LearnArgs {
    #[command(flatten)]
    at: TargetArgs,
    /// The user prompt.
    #[arg(long, required_unless_present = "examples", requires = "target")]
    prompt: Option<String>,
    /// The wanted answer.
    #[arg(long, required_unless_present = "examples", requires = "prompt")]
    target: Option<String>,
    /// File with more examples: one line {"prompt": "...", "target": "..."} each.
    #[arg(long, value_name = "FILE.jsonl")]
    examples: Option<PathBuf>,
    /// File of prompts, one per line, whose answers should stay as they are without a prefix.
    #[arg(long, value_name = "FILE")]
    preserve: Option<PathBuf>,
    /// Weight of the mean KL on those prompts, relative to the examples' loss.
    #[arg(long, value_name = "W", requires = "preserve")]
    preserve_weight: Option<f64>,
    /// The system prompt.
    #[arg(long, default_value = PRESETS[0].system)]
    system: String,
    /// Number of rows to learn, P [default: the number of rows in the file of --from, else 8].
    #[arg(long, value_name = "P", value_parser = clap::value_parser!(u16).range(1..))]
    len: Option<u16>,
    /// Initial rows: those of the target's tokens, of the tokens of --words, random ones, or those of --from.
    #[arg(long, value_enum, default_value_t = InitArg::Target)]
    init: InitArg,
    /// Text for --init words.
    #[arg(long, value_name = "TEXT", required_if_eq("init", "words"))]
    words: Option<String>,
    /// Rows for --init file: a PEFT folder, .safetensors, .npy, .npz or a KoboldAI .zip, for example from an earlier run.
    #[arg(long, value_name = "PATH", required_if_eq("init", "file"))]
    from: Option<PathBuf>,
    /// Maximum number of steps; stops earlier once the answer is the target with a high probability.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_STEPS, value_parser = at_least_one)]
    steps: usize,
    /// Learning rate: how far a value moves in a step at first, relative to the RMS of the vocabulary's values
    /// [default: the unit's].
    #[arg(long, value_name = "X", allow_negative_numbers = true, value_parser = above_zero)]
    lr: Option<f64>,
    /// Examples per step [default: the unit's].
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    batch: Option<usize>,
    /// Seed of random rows, and of the order of examples.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Maximum norm of a row, in median norms of the vocabulary, or `off` [default: rows stay between the vocabulary's
    /// 1st and 99th percentile].
    #[arg(long, value_name = "X", value_parser = norm_limit)]
    norm_limit: Option<NormLimit>,
    /// File to write the learned rows to.
    #[arg(long, value_name = "FILE.safetensors")]
    out: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum InitArg {
    Target,
    Words,
    Random,
    File,
}

pub(super) fn norm_limit(text: &str) -> Result<NormLimit, String> {
    if text == "off" {
        return Ok(NormLimit::Off);
    }
    let limit = above_zero(text).map_err(|why| format!("{why}, or off"))?;
    Ok(NormLimit::TokenNorms(limit))
}

impl LearnArgs {
    /// Returns the request to the unit. Fails if the rows of --from are not of this width.
    fn request(&self, hidden_size: Option<usize>) -> Result<LearnRequest, Failure> {
        let mut examples = match &self.examples {
            Some(path) => examples(path)?,
            None => Vec::new(),
        };
        if let (Some(prompt), Some(target)) = (&self.prompt, &self.target) {
            let (prompt, target) = (prompt.clone(), target.clone());
            examples.insert(0, Example { prompt, target });
        }
        let first_empty = examples
            .iter()
            .position(|one| one.prompt.trim().is_empty() || one.target.trim().is_empty());
        if let Some(place) = first_empty {
            return Err(Failure::arguments(format!(
                "Example {} has an empty prompt or target; write at least one word.",
                place + 1
            )));
        }
        if examples.is_empty() {
            return Err(Failure::arguments(
                "There are no examples; give --prompt and --target, or a file with lines.",
            ));
        }
        let mut len = self.len.map_or(DEFAULT_ROWS, usize::from);
        let init = match (self.init, &self.words, &self.from) {
            (InitArg::Target, ..) => Init::Target,
            (InitArg::Random, ..) => Init::Random,
            (InitArg::Words, Some(words), _) => Init::Words(words.clone()),
            (InitArg::File, _, Some(path)) => {
                let imported = files::import(path, hidden_size, Rounding::default());
                let rows = imported.map_err(|error| file_failure(&error))?.prefix;
                if self.len.is_some_and(|len| usize::from(len) != rows.len()) {
                    return Err(Failure::arguments(format!(
                        "{} has {} rows; leave --len out.",
                        path.display(),
                        rows.len()
                    )));
                }
                len = rows.len();
                Init::Rows(encode(&rows))
            }
            _ => {
                return Err(Failure::arguments(
                    "--init words needs --words TEXT, and --init file needs --from PATH.",
                ));
            }
        };
        let preserve = match &self.preserve {
            Some(path) => text_of(path)?
                .lines()
                .map(str::to_owned)
                .filter(|line| !line.trim().is_empty())
                .collect(),
            None => Vec::new(),
        };
        Ok(LearnRequest {
            examples,
            preserve,
            preserve_weight: self.preserve_weight,
            len,
            init,
            steps: Some(self.steps),
            lr: self.lr,
            seed: self.seed,
            norm_limit: self.norm_limit.unwrap_or_default(),
            batch: self.batch,
            ..LearnRequest::default()
        })
    }
}

pub fn run(args: LearnArgs) -> Result<Exit, Failure> {
    // Invalid arguments and files are reported before a model is loaded.
    args.request(None)?;
    writable(&args.out)?;
    let kept = format!(
        "the best rows so far are in {}. Continue from them with --init file.",
        args.out.display()
    );
    Terminal::work(&kept, async |terminal| {
        let opening = Opening {
            system: args.system.clone(),
            ..Opening::of(args.at.target())
        };
        let Some(session) = terminal.open_with(args.at.exit_tasks, opening).await? else {
            return Ok(Exit::Interrupted);
        };
        let outcome = learn(&args, &terminal, &session).await;
        session.close().await;
        outcome
    })
}

async fn learn(args: &LearnArgs, terminal: &Terminal, session: &Session) -> Result<Exit, Failure> {
    let failed = |error: ClientError| Failure::from(session.problem(error));
    let facts = session.facts();
    let request = args.request(facts.hidden_size())?;
    terminal.print_module(facts);
    let task = session
        .task_for(&args.system, &Settings::default())
        .await
        .map_err(failed)?;
    let plan = LearnPlan {
        system: args.system.clone(),
        request: request.clone(),
    };
    let identity = facts.identity.clone();
    let mut learner = Learner::begin(&task, plan, identity, args.out.clone(), Some(places::prefix_store()))?;
    let last = follow(args, terminal, &mut learner).await?;
    terminal.clear();
    let Some(best) = learner.best() else {
        return Err(Failure {
            exit: Exit::Module,
            message: "The unit sent no rows; update it and try again.".to_owned(),
        });
    };
    let answer_text = match request.examples.as_slice() {
        [only] => Some(answer(&task, only, &best.rows, &last).await.map_err(failed)?),
        _ => None,
    };
    print(&report(args, &best.rows, &last, answer_text.as_deref()));
    Ok(match last.end {
        Some(LearnEnd::Stopped) => Exit::Interrupted,
        // With several examples a style is learned, and the exact words are seldom reached.
        Some(LearnEnd::NotReached) if request.examples.len() == 1 => Exit::Module,
        _ => Exit::Success,
    })
}

/// Receives frames up to the last one. After Ctrl-C the unit is asked to stop, and the last frame is still awaited.
async fn follow(args: &LearnArgs, terminal: &Terminal, learner: &mut Learner) -> Result<LearnFrame, Failure> {
    let mut interrupts = terminal.interrupts();
    let mut stopping = false;
    loop {
        let received = tokio::select! {
            frame = learner.next_frame() => frame,
            () = interrupts.at_least(1), if !stopping => {
                stopping = true;
                learner.stop()?;
                continue;
            }
        };
        let frame = match received {
            Ok(frame) => learner.save_frame(frame).await?,
            Err(problem) => {
                let mut failure = Failure::from(problem);
                if learner.best().is_some() {
                    let more = format!(" The best rows so far are in {}.", args.out.display());
                    failure.message.push_str(&more);
                }
                return Err(failure);
            }
        };
        let (fraction, words) = progress(&frame);
        terminal.show(fraction, &words);
        if frame.step == 0 && !frame.finish {
            terminal.print_line(&format!("at first {}", words_of(&frame.loss)));
        }
        if frame.finish {
            return Ok(frame);
        }
    }
}

fn progress(frame: &LearnFrame) -> (f32, String) {
    let done = frame.step as f64 / frame.steps.max(1) as f64;
    let mut words = format!("step {} of {}: {}", frame.step, frame.steps, words_of(&frame.loss));
    if frame.step > 0 {
        let left = frame.elapsed_ms / frame.step as f64 * frame.steps.saturating_sub(frame.step) as f64;
        words.push_str(&format!(". {}", still_left(left)));
    }
    if frame.undone > 0 {
        words.push_str(&format!(" ({} steps undone)", frame.undone));
    }
    (done as f32, words)
}

fn words_of(loss: &LearnLoss) -> String {
    let kept = match loss.divergence {
        0.0 => String::new(),
        kl => format!(", KL {kl:.4} on what is preserved"),
    };
    format!(
        "{:.4} nats per token, {} of {} tokens right{kept}",
        loss.likelihood, loss.matched, loss.wanted
    )
}

/// Returns the model's greedy output with these rows.
async fn answer(task: &Task, example: &Example, rows: &SoftPrefix, last: &LearnFrame) -> Result<String, ClientError> {
    let request = InferenceRequest::new(&example.prompt)
        .prefix(Some(rows.clone()))
        .max_new_tokens(last.loss.wanted + TOKENS_BEYOND_TARGET);
    Ok(task.infer(request).outcome().await?.text)
}

fn report(args: &LearnArgs, rows: &SoftPrefix, last: &LearnFrame, answer_text: Option<&str>) -> String {
    let best = &last.best;
    let mut out = format!(
        "{}: {} rows of {} values, SHA-256 {}\n{} at step {} of {}\n",
        args.out.display(),
        rows.len(),
        rows.hidden_size(),
        rows.sha256(),
        words_of(&best.loss),
        best.step,
        last.step
    );
    if last.undone > 0 {
        out += &format!(
            "{} steps were undone because their numbers were not finite; a smaller --lr avoids that\n",
            last.undone
        );
    }
    if last.end == Some(LearnEnd::NotReached) && !best.loss.all_matched() {
        out += "The answer is not the target yet; more --steps, a larger --len, another --seed or a larger --norm-limit may help.\n";
    }
    if let Some(answer_text) = answer_text {
        out += &format!("with them the model says: {answer_text}\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_norms_is_a_number_or_off() {
        assert_eq!(norm_limit("off"), Ok(NormLimit::Off));
        assert_eq!(norm_limit("2.5"), Ok(NormLimit::TokenNorms(2.5)));
        assert!(norm_limit("0").is_err() && norm_limit("NaN").is_err() && norm_limit("much").is_err());
    }
}
