//! Speculative decoding by prompt lookup: proposes the next tokens from what followed the same tokens before, in earlier outputs or in
//! the text itself. The engine verifies each proposal, so drafts change the speed and never the output.

use std::sync::Arc;

/// Longest match that is distinguished, in tokens. A longer match counts as one of this length.
pub const LONGEST_MATCH: usize = 16;

/// Weight of one observation in the running acceptance rates. A guess: larger adapts sooner, and one rejected token then counts for more.
const RATE_SMOOTHING: f64 = 0.25;

/// What verifying drafted tokens costs; 1.0 is what a step without drafts costs this sequence: the step's time, divided by the number of
/// sequences that decode in it.
#[derive(Clone, Copy, Debug)]
pub struct DraftCost {
    /// Of the first drafted token, beyond [`DraftCost::each`].
    pub first: f64,
    /// Of each drafted token.
    pub each: f64,
}

/// Proposes tokens for one sequence, and adapts to how many of its proposals are accepted.
pub struct Drafter {
    /// Texts that the output may repeat, most likely first.
    sources: Vec<Arc<[u32]>>,
    /// The prompt and the output so far.
    text: Vec<u32>,
    /// The match that the last proposal was read from.
    last_match: Option<Match>,
    /// The tokens after that match, of which the first `proposed` were proposed.
    expected: Vec<u32>,
    proposed: usize,
    /// Estimated probability that the token after a match is accepted, by the match's length.
    acceptance_rates: [f64; LONGEST_MATCH + 1],
    drafted: usize,
    accepted: usize,
}

/// A position whose preceding tokens equal the end of the text.
#[derive(Clone, Copy)]
struct Match {
    /// Index into the sources; `sources.len()` is the text itself.
    source: usize,
    next: usize,
    matched: usize,
}

impl Drafter {
    /// Creates a drafter for a text that starts with `prompt`. A source may include tokens before the part that is likely to be
    /// repeated: they help to find the match.
    #[must_use]
    pub fn new(prompt: &[u32], sources: Vec<Arc<[u32]>>) -> Self {
        let mut acceptance_rates = [0.0; LONGEST_MATCH + 1];
        // A guess to begin with: the longer a match, the more likely it goes on; 0.1 for one token, 0.8 for sixteen.
        for (matched, rate) in (0_u8..).zip(&mut acceptance_rates) {
            *rate = 1.0 - 0.9_f64.powi(matched.into());
        }
        Self {
            sources,
            text: prompt.to_vec(),
            last_match: None,
            expected: Vec::new(),
            proposed: 0,
            acceptance_rates,
            drafted: 0,
            accepted: 0,
        }
    }

    /// Returns at most `max` tokens: as many as are expected to save the most at `cost`, none if they save nothing. Call
    /// [`Drafter::observe`] before the next proposal. The search is one pass over all sources.
    pub fn propose(&mut self, max: usize, cost: DraftCost) -> &[u32] {
        self.expected.clear();
        self.proposed = 0;
        self.last_match = self.find();
        if let Some(found) = self.last_match {
            // Reads at least one token even if none may be proposed: comparing it with the model's token still updates the estimates.
            while self.expected.len() < max.max(1)
                && let Some(token) = self.token(found.source, found.next + self.expected.len())
            {
                self.expected.push(token);
            }
            let (mut chance, mut saved) = (1.0, -cost.first);
            // A short match may come from boilerplate such as the chat template, so no more tokens are proposed than were matched.
            let max = if found.matched < LONGEST_MATCH {
                max.min(found.matched)
            } else {
                max
            };
            for ahead in 0..self.expected.len().min(max) {
                chance *= self.acceptance_rates[(found.matched + ahead).min(LONGEST_MATCH)];
                if chance < cost.each {
                    break;
                }
                saved += chance - cost.each;
                self.proposed += 1;
            }
            if saved < 0.0 {
                self.proposed = 0;
            }
        }
        &self.expected[..self.proposed]
    }

    /// Records the tokens that the model chose after the last proposal: those that were accepted, and one more.
    pub fn observe(&mut self, tokens: &[u32]) {
        if let Some(last) = &mut self.last_match {
            let accepted = self
                .expected
                .iter()
                .zip(tokens)
                .take_while(|(expected, token)| expected == token)
                .count();
            for ahead in 0..self.expected.len().min(tokens.len()).min(accepted + 1) {
                let rate = &mut self.acceptance_rates[(last.matched + ahead).min(LONGEST_MATCH)];
                let was_accepted = if ahead < accepted { 1.0 } else { 0.0 };
                *rate += (was_accepted - *rate) * RATE_SMOOTHING;
            }
            // Also after a token that differed: a text with one word replaced goes on at the same distance.
            last.next += tokens.len();
            self.drafted += self.proposed;
            self.accepted += accepted.min(self.proposed);
        }
        self.text.extend_from_slice(tokens);
    }

    /// Returns the number of proposed tokens, and how many of them were accepted.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.drafted, self.accepted)
    }

    /// Returns the token at `at` in a source. Positions after the end of the text itself continue with the proposal.
    fn token(&self, source: usize, at: usize) -> Option<u32> {
        match self.sources.get(source) {
            Some(source) => source.get(at).copied(),
            None if at < self.text.len() => self.text.get(at).copied(),
            None => self.expected.get(at - self.text.len()).copied(),
        }
    }

    /// Finds the longest match of the text's end. On a tie the match that the last proposal was read from wins, then the first one.
    fn find(&self) -> Option<Match> {
        let last = *self.text.last()?;
        let mut best = self.last_match.and_then(|last| {
            let matched = self.matched(last.source, last.next);
            (matched > 0).then_some(Match { matched, ..last })
        });
        for source in 0..=self.sources.len() {
            let tokens: &[u32] = self.sources.get(source).map_or(&self.text, |source| source);
            for next in 1..tokens.len() {
                let best_length = best.map_or(0, |best| best.matched);
                if best_length == LONGEST_MATCH {
                    return best;
                }
                if tokens[next - 1] == last {
                    let matched = self.matched(source, next);
                    if matched > best_length {
                        best = Some(Match { source, next, matched });
                    }
                }
            }
        }
        best
    }

    /// Returns how many tokens before `next` in the source equal the end of the text.
    fn matched(&self, source: usize, next: usize) -> usize {
        let tokens: &[u32] = self.sources.get(source).map_or(&self.text, |source| source);
        let before = tokens.get(..next).unwrap_or_default().iter().rev();
        before
            .zip(self.text.iter().rev())
            .take(LONGEST_MATCH)
            .take_while(|(before, last)| before == last)
            .count()
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const FREE: DraftCost = DraftCost { first: 0.0, each: 0.0 };
    const COST: DraftCost = DraftCost { first: 0.0, each: 0.1 };

    /// Decodes `truth` with at most `max` drafts per step; returns the number of steps and the drafter's counts.
    fn steps(mut drafter: Drafter, truth: &[u32], max: usize) -> (usize, usize, usize) {
        let (mut at, mut steps) = (0, 0);
        while at < truth.len() {
            let guess = drafter.propose(max.min(truth.len() - at - 1), COST);
            let right = guess.iter().zip(&truth[at..]).take_while(|(a, b)| a == b).count();
            drafter.observe(&truth[at..=at + right]);
            at += right + 1;
            steps += 1;
        }
        let (drafted, accepted) = drafter.counts();
        (steps, drafted, accepted)
    }

    /// Pseudo-random token ids.
    fn noise(len: usize, seed: u64) -> Vec<u32> {
        let mut state = seed;
        (0..len)
            .map(|_| (softprefix_core::prefix::split_mix(&mut state) % 50_000) as u32)
            .collect()
    }

    fn texts(texts: &[&[u32]]) -> Vec<Arc<[u32]>> {
        texts.iter().map(|text| Arc::from(*text)).collect()
    }

    #[test]
    fn a_repeated_text_takes_few_steps_and_has_no_rejected_drafts() {
        let (prompt, text) = (noise(20, 1), noise(64, 2));
        let before = [&prompt[4..], &text].concat();
        let drafter = Drafter::new(&prompt, texts(&[&noise(64, 3), &before]));
        assert_eq!(steps(drafter, &text, 15), (5, 59, 59));
    }

    #[test]
    fn drafting_resumes_after_an_inserted_or_replaced_token() {
        let text = noise(90, 4);
        for changed in [
            [&text[..30], &[7], &text[30..]].concat(),
            [&text[..30], &[7], &text[31..]].concat(),
        ] {
            let (steps, drafted, accepted) = steps(Drafter::new(&[], texts(&[&text])), &changed, 15);
            assert!(steps < 30, "{steps} steps");
            assert!(accepted * 4 > drafted * 3, "{accepted} of {drafted}");
        }
    }

    #[test]
    fn a_text_that_repeats_itself_is_drafted_from_itself_beyond_its_end() {
        let text: Vec<u32> = noise(7, 5).into_iter().cycle().take(140).collect();
        let (steps, drafted, accepted) = steps(Drafter::new(&[], Vec::new()), &text, 15);
        assert!(steps < 30, "{steps} steps, {accepted} of {drafted}");
    }

    #[test]
    fn without_a_match_almost_nothing_is_drafted() {
        let drafter = Drafter::new(&noise(50, 6), texts(&[&noise(500, 7), &noise(500, 8)]));
        let (steps, drafted, _) = steps(drafter, &noise(400, 9), 15);
        assert!(steps > 395 && drafted < 8, "{steps} steps, {drafted} drafted");
    }

    #[test]
    fn misleading_sources_are_soon_ignored_and_used_again_when_they_are_right() {
        // Every second token differs, so each one-token match is followed by a rejected draft.
        let before = noise(400, 10);
        let mut text = before.clone();
        text.iter_mut().skip(1).step_by(2).for_each(|token| *token += 50_000);
        let whole = [text, before.clone()].concat();
        let misled = steps(Drafter::new(&[], texts(&[&before])), &whole[..400], 15);
        assert!(misled.0 > 390 && misled.1 < 20, "{misled:?}");
        let both = steps(Drafter::new(&[], texts(&[&before])), &whole, 15);
        assert!(both.0 < misled.0 + 60, "{both:?}");
    }

    #[test]
    fn fewer_tokens_are_proposed_the_more_each_costs_and_none_that_do_not_save_the_cost_of_the_first() {
        let text = noise(200, 11);
        let proposed = |first, each| {
            let mut drafter = Drafter::new(&text[..10], texts(&[&text]));
            drafter.propose(100, DraftCost { first, each }).len()
        };
        let counts = [0.05, 0.3, 0.6, 0.9].map(|each| proposed(0.0, each));
        assert!(counts.is_sorted_by(|a, b| a > b), "{counts:?}");
        assert_eq!(counts[3], 0);
        // The chances of one, two and three more tokens after ten equal ones are 0.65, 0.45 and 0.32: 0.52 more than 0.3 for each.
        assert_eq!(proposed(0.4, 0.3), counts[1]);
        assert_eq!(proposed(0.6, 0.3), 0);
    }

    #[test]
    fn empty_inputs_propose_nothing() {
        assert_eq!(Drafter::new(&[], Vec::new()).propose(15, FREE), [0; 0]);
        assert_eq!(Drafter::new(&[], texts(&[&[], &[1]])).propose(15, FREE), [0; 0]);
        assert_eq!(Drafter::new(&[1], texts(&[&[1, 2, 3]])).propose(0, FREE), [0; 0]);
    }

    proptest! {
        #[test]
        fn a_proposal_is_no_longer_than_requested_and_consists_of_tokens_of_the_texts(
            prompt in vec(0..4_u32, 0..40),
            sources in vec(vec(0..4_u32, 0..60), 0..4),
            steps in vec((0..20_usize, 0.0..1.2, 0.0..1.2, vec(0..4_u32, 1..21)), 0..30),
        ) {
            let sources = sources.iter().map(|source| source.as_slice().into()).collect();
            let mut drafter = Drafter::new(&prompt, sources);
            for (max, first, each, chosen) in steps {
                let proposed = drafter.propose(max, DraftCost { first, each });
                prop_assert!(proposed.len() <= max);
                prop_assert!(proposed.iter().all(|&token| token < 4));
                // The tokens that were accepted, and the one after them.
                let count = chosen.len().min(proposed.len() + 1);
                drafter.observe(&chosen[..count]);
                let (drafted, accepted) = drafter.counts();
                prop_assert!(accepted <= drafted);
            }
        }
    }
}
