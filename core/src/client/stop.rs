//! The signal that stops an inference, or work of several.

use tokio::sync::watch;

/// A signal to stop; see [`Stop::pair`].
#[derive(Clone, Debug)]
pub struct Stop(Option<watch::Receiver<bool>>);

impl Stop {
    /// A sender and its signal. Sending `true` or dropping the sender requests the stop.
    pub fn pair() -> (watch::Sender<bool>, Self) {
        let (sender, receiver) = watch::channel(false);
        (sender, Self(Some(receiver)))
    }

    /// A signal that never comes.
    pub fn never() -> Self {
        Self(None)
    }

    /// Returns once a stop is requested.
    pub async fn requested(&mut self) {
        match &mut self.0 {
            // An error means that the sender was dropped.
            Some(stop) => drop(stop.wait_for(|stop| *stop).await),
            None => std::future::pending().await,
        }
    }
}
