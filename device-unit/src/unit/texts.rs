//! The recent texts of a task as token ids, which its next inference may repeat.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::budget::{Budget, Charge, Use};

/// Maximum number of texts.
const MOST_TEXTS: usize = 8;
/// Maximum number of tokens in all texts.
const MOST_TOKENS: usize = 1 << 15;

/// Recent texts, latest first. Their memory is charged to the unit's budget.
#[derive(Debug)]
pub struct LastTexts(Mutex<Kept>);

#[derive(Debug)]
struct Kept {
    texts: VecDeque<Arc<[u32]>>,
    memory: Charge,
}

impl LastTexts {
    /// Creates an empty list; `None` if the budget is exhausted.
    pub fn new(budget: &Budget) -> Option<Self> {
        let memory = budget.charge(Use::Work, 0)?;
        let texts = VecDeque::new();
        Some(Self(Mutex::new(Kept { texts, memory })))
    }

    /// Returns all texts, latest first.
    pub fn all(&self) -> Vec<Arc<[u32]>> {
        self.lock().texts.iter().cloned().collect()
    }

    /// Adds a text. Removes texts that are a prefix of it (from a run that was stopped), and the oldest ones if there is no room. A text that
    /// is too long is not added.
    pub fn keep(&self, text: Vec<u32>) {
        let mut kept = self.lock();
        kept.drop_where(|old| text.starts_with(old));
        if text.len() > MOST_TOKENS || kept.texts.iter().any(|old| old.starts_with(&text)) {
            return;
        }
        while kept.texts.len() >= MOST_TEXTS || kept.tokens() + text.len() > MOST_TOKENS {
            kept.drop_oldest();
        }
        while !kept.memory.grow(text.len() * size_of::<u32>()) {
            if kept.texts.is_empty() {
                return;
            }
            kept.drop_oldest();
        }
        kept.texts.push_front(text.into());
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn tokens(&self) -> usize {
        self.texts.iter().map(|text| text.len()).sum()
    }

    fn drop_oldest(&mut self) {
        let dropped = self.texts.pop_back();
        self.memory.shrink(dropped.map_or(0, |text| size_of_val(&*text)));
    }

    fn drop_where(&mut self, unwanted: impl Fn(&[u32]) -> bool) {
        let before = self.tokens();
        self.texts.retain(|text| !unwanted(text));
        self.memory.shrink((before - self.tokens()) * size_of::<u32>());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(texts: &LastTexts) -> Vec<usize> {
        texts.all().iter().map(|text| text.len()).collect()
    }

    #[test]
    fn the_last_texts_stay_and_their_memory_is_charged_and_given_back() {
        let budget = Budget::default();
        let texts = LastTexts::new(&budget).unwrap();
        for number in 0..20 {
            texts.keep(vec![number; 100]);
        }
        assert_eq!(texts.all()[0][0], 19);
        assert_eq!((lengths(&texts), budget.used(Use::Work)), (vec![100; 8], 8 * 100 * 4));
        texts.keep(vec![1; MOST_TOKENS - 150]);
        assert_eq!(lengths(&texts), [MOST_TOKENS - 150, 100]);
        texts.keep(vec![2; MOST_TOKENS + 1]);
        assert_eq!(lengths(&texts), [MOST_TOKENS - 150, 100]);
        assert_eq!(budget.used(Use::Work), (MOST_TOKENS - 50) * 4);
        drop(texts);
        assert_eq!(budget.used(Use::Work), 0);
    }

    #[test]
    fn a_text_takes_the_place_of_its_beginnings_and_is_not_kept_twice() {
        let texts = LastTexts::new(&Budget::default()).unwrap();
        texts.keep(vec![1, 2]);
        texts.keep(vec![9]);
        texts.keep(vec![1, 2, 3]);
        texts.keep(vec![1, 2, 3]);
        texts.keep(vec![1]);
        assert_eq!(lengths(&texts), [3, 1]);
    }

    #[test]
    fn where_there_is_no_memory_older_texts_make_room() {
        let budget = Budget::new(crate::budget::LEAST);
        let texts = LastTexts::new(&budget).unwrap();
        texts.keep(vec![1; 1000]);
        let _others = budget.charge(Use::Work, budget.share(Use::Work) - 5000).unwrap();
        texts.keep(vec![2; 500]);
        assert_eq!(lengths(&texts), [500]);
        texts.keep(vec![3; 2000]);
        assert_eq!(lengths(&texts), [0; 0]);
    }
}
