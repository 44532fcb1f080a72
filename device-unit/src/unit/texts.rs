//! The recent texts of a task as token ids, which its next inference may repeat.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::budget::{Budget, Charge, Purpose};

/// Maximum number of texts.
const MAX_TEXTS: usize = 8;
/// Maximum number of tokens in all texts.
const MAX_TOKENS_KEPT: usize = 1 << 15;

/// Recent texts, latest first. Their memory is charged to the unit's budget.
#[derive(Debug)]
pub struct RecentTexts(Mutex<Stored>);

#[derive(Debug)]
struct Stored {
    texts: VecDeque<Arc<[u32]>>,
    memory: Charge,
}

impl RecentTexts {
    /// Creates an empty list; `None` if the budget is exhausted.
    pub fn new(budget: &Budget) -> Option<Self> {
        let memory = budget.charge(Purpose::Work, 0)?;
        let texts = VecDeque::new();
        Some(Self(Mutex::new(Stored { texts, memory })))
    }

    /// Returns all texts, latest first.
    pub fn all(&self) -> Vec<Arc<[u32]>> {
        self.lock().texts.iter().cloned().collect()
    }

    /// Adds a text. Removes texts that are a prefix of it (from a run that was stopped), and the oldest ones if there is no room. A text that
    /// is too long is not added.
    pub fn push(&self, text: Vec<u32>) {
        let mut stored = self.lock();
        stored.drop_where(|old| text.starts_with(old));
        if text.len() > MAX_TOKENS_KEPT || stored.texts.iter().any(|old| old.starts_with(&text)) {
            return;
        }
        while stored.texts.len() >= MAX_TEXTS || stored.tokens() + text.len() > MAX_TOKENS_KEPT {
            stored.drop_oldest();
        }
        while !stored.memory.grow(text.len() * size_of::<u32>()) {
            if stored.texts.is_empty() {
                return;
            }
            stored.drop_oldest();
        }
        stored.texts.push_front(text.into());
    }

    fn lock(&self) -> MutexGuard<'_, Stored> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stored {
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

    fn lengths(texts: &RecentTexts) -> Vec<usize> {
        texts.all().iter().map(|text| text.len()).collect()
    }

    #[test]
    fn the_latest_texts_are_kept_and_their_memory_is_charged_and_released() {
        let budget = Budget::default();
        let texts = RecentTexts::new(&budget).unwrap();
        for number in 0..20 {
            texts.push(vec![number; 100]);
        }
        assert_eq!(texts.all()[0][0], 19);
        assert_eq!(
            (lengths(&texts), budget.used(Purpose::Work)),
            (vec![100; 8], 8 * 100 * 4)
        );
        texts.push(vec![1; MAX_TOKENS_KEPT - 150]);
        assert_eq!(lengths(&texts), [MAX_TOKENS_KEPT - 150, 100]);
        texts.push(vec![2; MAX_TOKENS_KEPT + 1]);
        assert_eq!(lengths(&texts), [MAX_TOKENS_KEPT - 150, 100]);
        assert_eq!(budget.used(Purpose::Work), (MAX_TOKENS_KEPT - 50) * 4);
        drop(texts);
        assert_eq!(budget.used(Purpose::Work), 0);
    }

    #[test]
    fn a_text_replaces_its_prefixes_and_is_not_added_twice() {
        let texts = RecentTexts::new(&Budget::default()).unwrap();
        texts.push(vec![1, 2]);
        texts.push(vec![9]);
        texts.push(vec![1, 2, 3]);
        texts.push(vec![1, 2, 3]);
        texts.push(vec![1]);
        assert_eq!(lengths(&texts), [3, 1]);
    }

    #[test]
    fn without_free_memory_the_oldest_texts_are_removed() {
        let budget = Budget::new(crate::budget::MIN_LIMIT);
        let texts = RecentTexts::new(&budget).unwrap();
        texts.push(vec![1; 1000]);
        let _others = budget
            .charge(Purpose::Work, budget.share(Purpose::Work) - 5000)
            .unwrap();
        texts.push(vec![2; 500]);
        assert_eq!(lengths(&texts), [500]);
        texts.push(vec![3; 2000]);
        assert_eq!(lengths(&texts), [0; 0]);
    }
}
