//! Learning a prefix on our unit: the request, and its progress as frames.

use std::sync::Arc;

use super::connection::{Connection, Kind, Ticket};
use super::error::ClientError;
use super::module::{parse_data, refused, task_gone_error};
use super::task::Task;
use crate::protocol::Request;
use crate::protocol::extension::{LEARN, STOP, StopRequest, feature};
use crate::protocol::learn::{LearnFrame, LearnRequest};
use crate::protocol::message::to_data;

/// A prefix that is being learned. Dropping it stops the learning.
pub struct Learning {
    task: Task,
    connection: Arc<Connection>,
    ticket: Ticket,
    finished: bool,
}

impl Task {
    /// Starts to learn a prefix. Our unit only.
    ///
    /// # Errors
    /// [`ClientError::Unsupported`] where the unit cannot learn, and as for every request.
    pub fn learn(&self, request: &LearnRequest) -> Result<Learning, ClientError> {
        if !self.support().is_some_and(|support| support.has(feature::LEARN)) {
            return Err(ClientError::Unsupported {
                work_id: self.work_id().to_owned(),
                feature: feature::LEARN.to_owned(),
            });
        }
        let connection = self.module().connection();
        let message = Request::new(connection.new_id(), self.work_id(), LEARN).with(LEARN, to_data(request));
        let ticket = connection.ask(&message, Kind::Other, Some(self.work_id()))?;
        Ok(Learning {
            task: self.clone(),
            connection,
            ticket,
            finished: false,
        })
    }
}

impl Learning {
    /// The next frame; `None` after the last one. Cancel safe: dropping the future loses no frame.
    ///
    /// # Errors
    /// The unit's error, a lost connection, or a unit that does not answer.
    pub async fn next(&mut self) -> Result<Option<LearnFrame>, ClientError> {
        if self.finished {
            return Ok(None);
        }
        let silence = self.task.module().options().idle;
        let reply = tokio::select! {
            biased;
            reply = self.ticket.next() => reply,
            // Silence is no error while the unit still has the task: other work may come first.
            error = self.task.wait_until_gone(silence) => Err(error),
        };
        let reply = match reply {
            Ok(reply) if reply.error.code.is_ok() => reply,
            Ok(reply) => {
                self.finished = true;
                let work_id = self.task.work_id();
                return Err(task_gone_error(refused(LEARN, work_id, reply), work_id));
            }
            Err(error) => {
                self.finished = true;
                return Err(error);
            }
        };
        let frame: LearnFrame = parse_data(LEARN, reply.data)?;
        self.finished = frame.finish;
        Ok(Some(frame))
    }

    /// Asks the unit to stop. The last frame then has the best rows so far.
    ///
    /// # Errors
    /// If the connection is closed.
    pub fn stop(&self) -> Result<(), ClientError> {
        let data = StopRequest {
            request_id: self.ticket.request_id.clone(),
        };
        let request = Request::new(self.connection.new_id(), self.task.work_id(), STOP).with(STOP, to_data(&data));
        self.connection.send(&request)
    }
}

impl Drop for Learning {
    fn drop(&mut self) {
        if !self.finished {
            // On a closed connection there is nothing to stop: the unit ends the learning by itself.
            let _ = self.stop();
        }
    }
}
