//! The loaded models, shared by the tasks that use them. The model used last stays loaded after its last task has ended, so that the
//! next set-up is fast.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::shared_model::SharedModel;

/// A cache of loaded models.
#[derive(Default)]
pub struct ModelCache {
    loaded: Mutex<Loaded>,
}

#[derive(Default)]
struct Loaded {
    by_key: Vec<(String, Weak<SharedModel>)>,
    /// The model that was used last.
    last_used: Option<Arc<SharedModel>>,
}

impl ModelCache {
    /// Returns the model of this key, and calls `load` if it is not loaded. Must not be called concurrently.
    ///
    /// # Errors
    /// Those of `load`.
    pub fn get(
        &self,
        key: &str,
        load: impl FnOnce() -> Result<Arc<SharedModel>, String>,
    ) -> Result<Arc<SharedModel>, String> {
        let known = self.known(key);
        let model = match known {
            Some(model) => model,
            None => {
                // The idle model is dropped first, to make room in memory.
                let idle = self.lock().last_used.take();
                drop(idle);
                load()?
            }
        };
        let mut loaded = self.lock();
        loaded
            .by_key
            .retain(|(other, model)| other != key && model.strong_count() > 0);
        loaded.by_key.push((key.to_owned(), Arc::downgrade(&model)));
        let before = loaded.last_used.replace(Arc::clone(&model));
        drop(loaded);
        drop(before);
        Ok(model)
    }

    fn known(&self, key: &str) -> Option<Arc<SharedModel>> {
        let loaded = self.lock();
        let (_, model) = loaded.by_key.iter().find(|(other, _)| other == key)?;
        model.upgrade().filter(|model| !model.scheduler.is_closed())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Loaded> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
