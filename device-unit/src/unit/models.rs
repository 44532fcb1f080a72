//! The loaded models, shared by the tasks that use them. The model used last can stay loaded after its last task has ended.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::shared_model::SharedModel;

/// A cache of loaded models.
pub struct ModelCache {
    keep_idle: bool,
    loaded: Mutex<Loaded>,
}

#[derive(Default)]
struct Loaded {
    by_key: Vec<(String, Weak<SharedModel>)>,
    /// The model that was used last.
    last_used: Option<Arc<SharedModel>>,
}

impl ModelCache {
    pub fn new(keep_idle: bool) -> Self {
        Self {
            keep_idle,
            loaded: Mutex::default(),
        }
    }

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
        let before = if self.keep_idle {
            loaded.last_used.replace(Arc::clone(&model))
        } else {
            None
        };
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
