//! Values of the Find view: examples, the settings of learning, and how much of its target an output reproduces.

use serde::{Deserialize, Serialize};
use softprefix_core::compare::is_cjk;
use softprefix_core::experiment::LearnPlan;
use softprefix_core::prefix::{PrefixRecipe, PrefixSummary, SearchOrigin};
use softprefix_core::protocol::learn::{
    DEFAULT_ROWS, DEFAULT_STEPS, Example, Init, LearnRequest, MAX_EXAMPLES, MAX_LEARNED_ROWS, MAX_STEPS, NormLimit,
};
use unicode_segmentation::UnicodeSegmentation;

use super::{Nearest, PRESETS, Unit};

/// The initial rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InitChoice {
    /// The embedding rows of the target's tokens.
    #[default]
    Target,
    /// The embedding rows of other words.
    Words,
    Random,
    /// The prefix in Tune.
    Present,
}

impl InitChoice {
    pub const ALL: [Self; 4] = [Self::Target, Self::Words, Self::Random, Self::Present];
}

/// The limit of the rows' norms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormChoice {
    /// The range of the vocabulary's own rows.
    #[default]
    Vocabulary,
    /// At most four times the vocabulary's median row.
    FourTimes,
    Any,
}

impl NormChoice {
    pub const ALL: [Self; 3] = [Self::Vocabulary, Self::FourTimes, Self::Any];

    fn limit(self) -> NormLimit {
        match self {
            Self::Vocabulary => NormLimit::Vocabulary,
            Self::FourTimes => NormLimit::TokenNorms(4.0),
            Self::Any => NormLimit::Off,
        }
    }
}

/// Prompts whose outputs are preserved on request, besides the presets: short ones of several kinds.
const PRESERVED: [&str; 4] = [
    "What is the capital of France?",
    "List three fruits.",
    "Write one sentence about the weather.",
    "How do I boil an egg?",
];

/// The fields of the Find view.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LearnForm {
    /// At least one.
    pub examples: Vec<Example>,
    /// The example in the fields.
    pub shown: usize,
    /// Number of the last examples that are evaluated and not learned from.
    pub held_out: usize,
    /// A text to compare the prefix with; if empty, the target of a single example.
    pub instruction: String,
    /// P.
    pub len: usize,
    pub init: InitChoice,
    pub words: String,
    pub norm: NormChoice,
    /// Whether the outputs of other prompts are preserved.
    pub preserve: bool,
    pub steps: usize,
    pub seed: u64,
}

impl Default for LearnForm {
    fn default() -> Self {
        Self {
            examples: vec![Example {
                prompt: PRESETS[0].user.to_owned(),
                target: String::new(),
            }],
            shown: 0,
            held_out: 0,
            instruction: String::new(),
            len: DEFAULT_ROWS,
            init: InitChoice::Target,
            words: String::new(),
            norm: NormChoice::Vocabulary,
            preserve: false,
            steps: DEFAULT_STEPS,
            seed: 1,
        }
    }
}

impl LearnForm {
    pub const LENS: std::ops::RangeInclusive<usize> = 1..=MAX_LEARNED_ROWS;
    pub const STEPS: std::ops::RangeInclusive<usize> = 1..=MAX_STEPS;

    /// Returns the fields with every number within its range, and at least one example.
    #[must_use]
    pub fn within_bounds(mut self) -> Self {
        if self.examples.is_empty() {
            self.examples = Self::default().examples;
        }
        self.examples.truncate(MAX_EXAMPLES);
        self.shown = self.shown.min(self.examples.len() - 1);
        self.held_out = self.held_out.min(self.most_held_out());
        self.len = self.len.clamp(*Self::LENS.start(), *Self::LENS.end());
        self.steps = self.steps.clamp(*Self::STEPS.start(), *Self::STEPS.end());
        self
    }

    /// Returns the example in the fields.
    pub fn example(&self) -> Option<&Example> {
        self.examples.get(self.shown)
    }

    /// Returns how many examples can be held out: at least one is learned from.
    pub fn most_held_out(&self) -> usize {
        self.examples.len().saturating_sub(1)
    }

    /// Returns the plan of these fields with this system prompt. Initial rows from Tune are filled in by the bridge.
    pub fn plan(&self, system: &str) -> LearnPlan {
        let learned = self.examples.len() - self.held_out.min(self.most_held_out());
        let (examples, held_out) = self.examples.split_at(learned);
        let instruction = match (self.instruction.trim(), examples) {
            ("", [only]) if held_out.is_empty() => Some(only.target.clone()),
            ("", _) => None,
            (words, _) => Some(words.to_owned()),
        };
        let preserve = match self.preserve {
            true => PRESERVED
                .iter()
                .copied()
                .chain(PRESETS.iter().map(|preset| preset.user))
                .map(str::to_owned)
                .collect(),
            false => Vec::new(),
        };
        LearnPlan {
            system: system.to_owned(),
            request: LearnRequest {
                examples: examples.to_vec(),
                held_out: held_out.to_vec(),
                instruction,
                preserve,
                len: self.len,
                init: match self.init {
                    InitChoice::Target | InitChoice::Present => Init::Target,
                    InitChoice::Words => Init::Words(self.words.clone()),
                    InitChoice::Random => Init::Random,
                },
                steps: Some(self.steps),
                seed: self.seed,
                norm_limit: self.norm.limit(),
                ..LearnRequest::default()
            },
        }
    }

    /// Sets the fields from a plan.
    pub fn set_from_plan(&mut self, plan: &LearnPlan) {
        let request = &plan.request;
        self.examples = request.examples.iter().chain(&request.held_out).cloned().collect();
        self.shown = 0;
        self.held_out = request.held_out.len();
        let by_itself =
            self.examples.len() == 1 && request.instruction.as_ref() == self.examples.first().map(|one| &one.target);
        self.instruction = request.instruction.clone().filter(|_| !by_itself).unwrap_or_default();
        self.len = request.len;
        match &request.init {
            Init::Target => self.init = InitChoice::Target,
            Init::Words(words) => (self.init, self.words) = (InitChoice::Words, words.clone()),
            Init::Random => self.init = InitChoice::Random,
            // No field holds the rows themselves.
            Init::Rows(_) => self.init = InitChoice::Present,
        }
        self.norm = match request.norm_limit {
            NormLimit::Vocabulary => NormChoice::Vocabulary,
            NormLimit::TokenNorms(_) => NormChoice::FourTimes,
            NormLimit::Off => NormChoice::Any,
        };
        self.preserve = !request.preserve.is_empty();
        self.steps = request.steps.unwrap_or(DEFAULT_STEPS);
        self.seed = request.seed;
    }
}

/// Why learning cannot start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LearnUnavailable {
    StillConnecting,
    NotConnected,
    /// The module's unit cannot learn: its name; `None` for a stock one.
    CannotLearn(Option<String>),
    /// The history is not open, so nothing can be saved.
    NoHistory,
    /// The number of an example.
    EmptyPrompt(usize),
    EmptyTarget(usize),
    NoWords,
    /// The prefix in Tune is incomplete.
    NoPresent,
    /// Another mode is running.
    OtherMode,
    /// A field has an invalid value.
    WrongField,
}

/// A prefix that was found: it can be used in Tune and exported.
#[derive(Debug, Clone, PartialEq)]
pub enum FoundPrefix {
    /// The best rows that the experiment of this id has learned.
    Learned(String),
    /// A candidate of a search.
    Candidate {
        recipe: Box<PrefixRecipe>,
        found: Box<SearchOrigin>,
    },
}

/// The best rows so far, which are saved.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundRows {
    /// The recipe of exactly these rows.
    pub recipe: PrefixRecipe,
    pub summary: PrefixSummary,
    pub nearest: Nearest,
}

impl FoundRows {
    /// Returns the step after which they were found.
    pub fn step(&self) -> Option<usize> {
        self.recipe.kind.learned().map(|learned| learned.step)
    }
}

/// How much of its target an output reproduces, from the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reproduced {
    /// Bytes of the output that equal the target's.
    pub bytes: usize,
    /// Whole units in them.
    pub done: usize,
    /// Units of the target.
    pub of: usize,
    pub unit: Unit,
}

impl Reproduced {
    /// Counts words if the target has spaces between them, else characters.
    pub fn of(target: &str, output: &str) -> Self {
        let target = target.trim();
        let shared = |from: &str| {
            let pairs = target.graphemes(true).zip(from.graphemes(true));
            let same = pairs.take_while(|(a, b)| a == b);
            same.fold((0, 0), |(count, bytes), (a, _)| (count + 1, bytes + a.len()))
        };
        let (characters, bytes) = shared(output);
        if target.chars().any(is_cjk) || !target.contains(char::is_whitespace) {
            return Self {
                bytes,
                done: characters,
                of: target.graphemes(true).count(),
                unit: Unit::Character,
            };
        }
        let mut found = Self {
            bytes: 0,
            done: 0,
            of: 0,
            unit: Unit::Word,
        };
        for word in target.split_whitespace() {
            found.of += 1;
            // The words are parts of the target: their places in it are known.
            let end = word.as_ptr() as usize - target.as_ptr() as usize + word.len();
            let goes_on = output
                .get(end..)
                .is_some_and(|rest| rest.starts_with(char::is_alphanumeric));
            if end <= bytes && !goes_on && found.done + 1 == found.of {
                (found.done, found.bytes) = (found.of, end);
            }
        }
        found
    }

    /// Returns whether all of the target is reproduced.
    pub fn is_whole(&self) -> bool {
        self.done == self.of
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reproduction_is_counted_in_whole_words_from_the_beginning() {
        let target = "The sea knew his name. He had a lamp, a dog and a book.";
        let found = Reproduced::of(target, "The sea knew his name. He had a lamp, and a boat.");
        assert_eq!((found.done, found.of, found.unit), (9, 14, Unit::Word));
        assert_eq!(found.bytes, "The sea knew his name. He had a lamp,".len());
        assert_eq!(Reproduced::of("a lamp here", "a lamps here").done, 1);
        assert_eq!(Reproduced::of("a lamp here", "no lamp here").done, 0);
        assert!(Reproduced::of(target, target).is_whole());
        assert!(Reproduced::of("land", "land and more").is_whole());
    }

    #[test]
    fn japanese_is_counted_in_characters() {
        let found = Reproduced::of("港の赤い灯が揺れる。", "港の赤い船が");
        assert_eq!((found.done, found.of, found.unit), (4, 10, Unit::Character));
        assert_eq!(Reproduced::of("港", "").done, 0);
    }

    #[test]
    fn the_last_examples_are_held_out_and_a_plan_gives_its_fields_again() {
        let example = |name: &str| Example {
            prompt: name.to_owned(),
            target: format!("{name} it is"),
        };
        let mut form = LearnForm {
            examples: vec![example("a"), example("b"), example("c")],
            held_out: 7,
            preserve: true,
            ..LearnForm::default()
        };
        let plan = form.plan("system");
        assert_eq!(
            (plan.request.examples.len(), plan.request.held_out.len()),
            (1, 2),
            "one is learned from"
        );
        assert_eq!(plan.request.instruction, None);
        form.held_out = 2;
        let mut again = LearnForm::default();
        again.set_from_plan(&plan);
        assert_eq!(again, form);

        let alone = LearnForm {
            examples: vec![example("a")],
            ..LearnForm::default()
        };
        let plan = alone.plan("");
        assert_eq!(plan.request.instruction.as_deref(), Some("a it is"));
        again.set_from_plan(&plan);
        assert_eq!(again, alone);
    }
}
