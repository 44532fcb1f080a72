//! A module: requests to llm-sys and to the LLM unit as a whole.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::abandoned_tasks::{self, TaskIdentity};
use super::connection::{Connection, Kind, Ticket};
use super::error::ClientError;
use super::task::Task;
use crate::protocol::card::ModelCard;
use crate::protocol::extension::{self, Secret, feature};
use crate::protocol::frame::DEFAULT_LIMIT;
use crate::protocol::message::{CmmInfo, LLM, NONE, SYS, action, object, to_data};
use crate::protocol::{Code, Reply, Request, SetUp, TaskInfo};

/// The TCP port of llm-sys.
pub const DEFAULT_PORT: u16 = 10001;

/// Limits of every wait, and how to connect.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectOptions {
    /// Limit for the TCP connection, name resolution included. 5 s by default.
    pub connect: Duration,
    /// Limit for the reply to anything but a set-up, an inference, `score` or `nearest`. While a unit of a module is dead, llm-sys is
    /// silent for 4 s at a time: limits under 5 s give false alarms. 10 s by default.
    pub request: Duration,
    /// Limit for a set-up. Models take 5 to 60 s to load on the module. 60 s by default.
    pub set_up: Duration,
    /// Limit for the first frame of a streamed inference on a stock module. 30 s by default.
    pub first_frame: Duration,
    /// Limit between two frames of a stream. 20 s by default.
    pub idle: Duration,
    /// Limit for a whole inference whose request sets none, and for `score` and `nearest`. 300 s by default.
    pub deadline: Duration,
    /// Wait for the last frame after a stop. 5 s by default.
    pub drain: Duration,
    /// Pause between a set-up and the first inference on a stock module, which loses inferences that come at once (2 of
    /// 40). 150 ms by default.
    pub settle: Duration,
    /// Largest message accepted from the module, in bytes. 16 MiB by default.
    pub max_message: usize,
    /// Waits before each attempt to reach a module again that was lost; their number limits the attempts. Eight in a minute by default.
    pub retries: Vec<Duration>,
    /// The secret of a unit that serves this program alone; `None` for every other.
    pub secret: Option<Secret>,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            request: Duration::from_secs(10),
            set_up: Duration::from_secs(60),
            first_frame: Duration::from_secs(30),
            idle: Duration::from_secs(20),
            deadline: Duration::from_secs(300),
            drain: Duration::from_secs(5),
            settle: Duration::from_millis(150),
            max_message: DEFAULT_LIMIT,
            retries: [0.2, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0]
                .map(Duration::from_secs_f64)
                .to_vec(),
            secret: None,
        }
    }
}

impl ConnectOptions {
    /// The limits for a unit in the caller's own process. It cannot be unplugged, and where it fails the connection is closed: silence
    /// only means that the machine is busy.
    #[must_use]
    pub fn in_this_process(self, secret: Secret) -> Self {
        const PATIENCE: Duration = Duration::from_secs(600);
        Self {
            request: self.request.max(PATIENCE),
            set_up: self.set_up.max(PATIENCE),
            idle: self.idle.max(PATIENCE),
            deadline: self.deadline.max(6 * PATIENCE),
            secret: Some(secret),
            ..self
        }
    }
}

/// A connected module. Cheap to clone; all clones share one connection, which closes with the last of them.
#[derive(Clone)]
pub struct Module {
    inner: Arc<Inner>,
}

struct Inner {
    address: String,
    options: ConnectOptions,
    connection: RwLock<Arc<Connection>>,
    /// Number of set-ups in progress: meanwhile the unit answers nothing else.
    setting_up: AtomicUsize,
}

impl Module {
    /// Connects to `address`: `host`, `host:port` or an IP address; the port is 10001 where none is given.
    ///
    /// # Errors
    /// [`ClientError::Connect`], [`ClientError::ConnectTimedOut`].
    pub async fn connect(address: impl AsRef<str>, options: ConnectOptions) -> Result<Self, ClientError> {
        let address = with_port(address.as_ref());
        let connection = Connection::open(&address, &options).await?;
        let inner = Inner {
            address,
            options,
            connection: RwLock::new(Arc::new(connection)),
            setting_up: AtomicUsize::new(0),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Opens a new connection in place of the old one, for all clones. Tasks may have ended on the module; their next
    /// use fails then.
    ///
    /// # Errors
    /// Those of [`Module::connect`]; the old connection then stays in place.
    pub async fn reconnect(&self) -> Result<(), ClientError> {
        let connection = Connection::open(&self.inner.address, &self.inner.options).await?;
        *self.inner.connection.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(connection);
        Ok(())
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        &self.inner.address
    }

    /// The limits that [`Module::connect`] was given.
    pub fn options(&self) -> &ConnectOptions {
        &self.inner.options
    }

    /// Whether the present connection is open. It may break before the next request.
    pub fn is_connected(&self) -> bool {
        !self.connection().is_closed()
    }

    /// Returns once the present connection is closed, with the reason.
    pub async fn disconnected(&self) -> ClientError {
        let connection = self.connection();
        connection.wait_closed().await
    }

    /// The round trip of a request to llm-sys.
    ///
    /// # Errors
    /// Those of every request: [`ClientError::NoAnswer`], [`ClientError::Refused`], [`ClientError::Unreadable`] and
    /// [`ClientError::ConnectionLost`].
    pub async fn ping(&self) -> Result<Duration, ClientError> {
        let start = Instant::now();
        self.sys(action::PING).await?;
        Ok(start.elapsed())
    }

    /// llm-sys's version, such as `v1.6`.
    ///
    /// # Errors
    /// Those of every request; see [`Module::ping`].
    pub async fn version(&self) -> Result<String, ClientError> {
        match self.sys(action::VERSION).await?.data {
            Value::String(version) => Ok(version),
            other => Err(unreadable(action::VERSION, format!("{other} is no version"))),
        }
    }

    /// The models the module has, of all units (`lsmode`).
    ///
    /// # Errors
    /// Those of every request; see [`Module::ping`].
    pub async fn cards(&self) -> Result<Vec<ModelCard>, ClientError> {
        Ok(self.model_list().await?.0)
    }

    /// The same, and how many entries of the module's list cannot be read: they have no name that a set-up could ask for.
    ///
    /// # Errors
    /// Those of every request; see [`Module::ping`].
    pub async fn model_list(&self) -> Result<(Vec<ModelCard>, usize), ClientError> {
        Ok(ModelCard::read_all(&self.sys(action::LSMODE).await?.data))
    }

    /// The memory for models: the NPU's, or the machine's where our unit runs without one.
    ///
    /// # Errors
    /// Those of every request; see [`Module::ping`].
    pub async fn cmminfo(&self) -> Result<CmmInfo, ClientError> {
        parse_data(action::CMMINFO, self.sys(action::CMMINFO).await?.data)
    }

    /// Whether the LLM unit has an action of this name; false where the unit does not run. Needs no task: use it to
    /// distinguish our unit from a stock one, which does not have our actions.
    ///
    /// # Errors
    /// Those of every request; see [`Module::ping`].
    pub async fn unit_has_action(&self, action: &str) -> Result<bool, ClientError> {
        let data = Some((&*format!("{LLM}.{action}"), NONE.into()));
        let reply = self.call(SYS, action::UNIT_CALL, data).await?;
        Ok(reply.data == NONE)
    }

    /// Whether the module runs our unit: by the mark of one of `cards`, else by asking the unit, since llm-sys lists cards of its own.
    ///
    /// # Errors
    /// Those of every request, except [`ClientError::Refused`] and [`ClientError::Unreadable`].
    pub async fn runs_our_unit(&self, cards: &[ModelCard]) -> Result<bool, ClientError> {
        if cards.iter().any(|card| card.ours) {
            return Ok(true);
        }
        match self.unit_has_action(extension::EMBED).await {
            Err(ClientError::Refused { .. } | ClientError::Unreadable { .. }) => Ok(false),
            answer => answer,
        }
    }

    /// The LLM unit's tasks, of all clients.
    ///
    /// # Errors
    /// Those of every request; see [`Module::ping`].
    pub async fn tasks(&self) -> Result<Vec<String>, ClientError> {
        parse_data(action::TASKINFO, self.call(LLM, action::TASKINFO, None).await?.data)
    }

    /// Ends a task of any client.
    ///
    /// # Errors
    /// As for every request; [`ClientError::TaskGone`] where there is no such task.
    pub async fn exit(&self, work_id: &str) -> Result<(), ClientError> {
        self.call(work_id, action::EXIT, None)
            .await
            .map(drop)
            .map_err(|error| task_gone_error(error, work_id))
    }

    /// Ends tasks that former clients left. Tasks that have ended meanwhile are no error.
    ///
    /// # Errors
    /// Those of every request; see [`Module::ping`].
    pub async fn exit_all(&self, work_ids: &[String]) -> Result<(), ClientError> {
        for work_id in work_ids {
            match self.exit(work_id).await {
                Ok(()) | Err(ClientError::TaskGone { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sets up a model as a task. Waits up to [`ConnectOptions::set_up`].
    ///
    /// With an empty `response_format` the client chooses the form of the output: whole texts from a stock unit, whose
    /// streams can stop in the middle of a character, and a stream from our unit. A `response_format` that is not empty
    /// is sent unchanged.
    ///
    /// On a module without room, the tasks are ended first that this program set up there over connections that broke. After a restart
    /// their ids may be another client's: each set-up therefore names an input of its own, which units repeat in `taskinfo`, and a task
    /// that does not show it is left alone.
    ///
    /// # Errors
    /// [`ClientError::TaskFull`] with the ids of the tasks in the way, [`ClientError::SetUpTimedOut`], and as for every request.
    pub async fn set_up(&self, set_up: &SetUp) -> Result<Task, ClientError> {
        let module = self.clone();
        let set_up = set_up.clone();
        // In an async task of its own: if the caller is dropped meanwhile, the finished set-up is dropped, which ends
        // it on the module.
        let work = async move {
            // Known before, since another set-up may end them meanwhile, and with that make room.
            let abandoned = abandoned_tasks::of_module(module.address());
            match module.set_up_here(set_up.clone()).await {
                Err(ClientError::TaskFull { ids }) if module.exit_abandoned(abandoned, &ids).await => {
                    module.set_up_here(set_up).await
                }
                other => other,
            }
        };
        match tokio::spawn(work).await {
            Ok(result) => result,
            Err(_) => Err(self.connection().why_closed()),
        }
    }

    /// Ends those of the `abandoned` tasks that the module still has (`ids`) and shows to be the same; returns whether one has ended.
    async fn exit_abandoned(&self, abandoned: Vec<TaskIdentity>, ids: &[String]) -> bool {
        let mut has_room = false;
        for task in abandoned {
            if !ids.contains(&task.work_id) {
                abandoned_tasks::forget(self.address(), &task);
                has_room = true;
                continue;
            }
            match self.exit_if_own(&task).await {
                Ok(()) => has_room = true,
                Err(error) => tracing::warn!(%error, "a task of a connection that broke is left alone"),
            }
        }
        has_room
    }

    /// Ends a task that this program set up over the current connection. Until its end is confirmed, it counts as abandoned.
    pub(super) async fn exit_own(&self, task: &TaskIdentity) -> Result<(), ClientError> {
        self.exit_remembered(task, self.exit(&task.work_id)).await
    }

    /// As [`Module::exit_own`], over another connection: the task is ended only if `taskinfo` shows that it is this one. That it has ended
    /// already is not an error.
    pub(super) async fn exit_if_own(&self, task: &TaskIdentity) -> Result<(), ClientError> {
        let exit = async {
            match self.task_info(&task.work_id).await {
                Ok(info) if task.is_described_by(&info) => self.exit_all(std::slice::from_ref(&task.work_id)).await,
                Ok(_) => Err(task.gone_error()),
                Err(ClientError::TaskGone { .. }) => Ok(()),
                Err(error) => Err(error),
            }
        };
        self.exit_remembered(task, exit).await
    }

    async fn exit_remembered(
        &self,
        task: &TaskIdentity,
        exit: impl Future<Output = Result<(), ClientError>>,
    ) -> Result<(), ClientError> {
        abandoned_tasks::remember(self.address(), task);
        let exited = exit.await;
        if matches!(exited, Ok(()) | Err(ClientError::TaskGone { .. })) {
            abandoned_tasks::forget(self.address(), task);
        }
        exited
    }

    async fn set_up_here(&self, mut set_up: SetUp) -> Result<Task, ClientError> {
        let choose = set_up.response_format.is_empty();
        if choose {
            set_up = set_up.streaming(false);
        }
        let limit = self.inner.options.set_up;
        let connection = self.connection();
        let request_id = connection.new_id();
        let marker_input = set_up.add_marker(&request_id);
        let reply = {
            self.inner.setting_up.fetch_add(1, Ordering::Relaxed);
            let _guard = Lower(&self.inner.setting_up);
            let request = Request::new(request_id, LLM, action::SETUP).with(object::SETUP, to_data(&set_up));
            let mut ticket = connection.ask(&request, Kind::Other, None)?;
            match tokio::time::timeout(limit, ticket.next()).await {
                Ok(reply) => reply?,
                Err(_) => {
                    end_when_ready(connection, ticket);
                    return Err(ClientError::SetUpTimedOut {
                        model: set_up.model,
                        seconds: limit.as_secs_f64(),
                    });
                }
            }
        };
        match reply.error.code {
            Code::OK => {}
            Code::TASK_FULL => {
                return Err(ClientError::TaskFull {
                    ids: self.tasks().await?,
                });
            }
            _ => return Err(refused(&format!("setup of {}", set_up.model), LLM, reply)),
        }
        let created_at = Instant::now();
        let info = match self.task_info(&reply.work_id).await {
            Ok(info) => info,
            // An older unit without `taskinfo` is treated as a stock one that set up what was asked for.
            Err(ClientError::Refused { .. }) => TaskInfo {
                enoutput: set_up.enoutput,
                inputs: set_up.input.clone(),
                model: set_up.model.clone(),
                response_format: set_up.response_format.clone(),
                soft_prefix: None,
            },
            Err(error) => {
                // The caller gets no handle to this task, so it must be ended here, or over the next connection.
                let exit = Request::new(connection.new_id(), reply.work_id.as_str(), action::EXIT);
                if connection.send(&exit).is_err() || error.is_disconnect() {
                    let work_id = reply.work_id;
                    abandoned_tasks::remember(self.address(), &TaskIdentity { work_id, marker_input });
                }
                return Err(error);
            }
        };
        let streams = choose
            && info
                .soft_prefix
                .as_ref()
                .is_some_and(|support| support.has(feature::STREAM));
        let identity = TaskIdentity {
            work_id: reply.work_id,
            marker_input: marker_input.filter(|input| info.inputs.contains(input)),
        };
        Ok(Task::new(
            self.clone(),
            connection,
            identity,
            info,
            set_up,
            created_at,
            streams,
        ))
    }

    pub(super) async fn task_info(&self, work_id: &str) -> Result<TaskInfo, ClientError> {
        let reply = self
            .call(work_id, action::TASKINFO, None)
            .await
            .map_err(|error| task_gone_error(error, work_id))?;
        parse_data(action::TASKINFO, reply.data)
    }

    pub(super) fn connection(&self) -> Arc<Connection> {
        Arc::clone(&self.inner.connection.read().unwrap_or_else(PoisonError::into_inner))
    }

    async fn sys(&self, action: &str) -> Result<Reply, ClientError> {
        // llm-sys crashes at some actions without `object` and `data` (PROTOCOL 2.1).
        self.call(SYS, action, Some((NONE, NONE.into()))).await
    }

    /// Sends a request and waits for its only reply.
    pub(super) async fn call(
        &self,
        work_id: &str,
        action: &str,
        data: Option<(&str, Value)>,
    ) -> Result<Reply, ClientError> {
        self.call_within(self.inner.options.request, work_id, action, data)
            .await
    }

    /// As [`Module::call`], with another limit.
    pub(super) async fn call_within(
        &self,
        limit: Duration,
        work_id: &str,
        action: &str,
        data: Option<(&str, Value)>,
    ) -> Result<Reply, ClientError> {
        let connection = self.connection();
        let mut request = Request::new(connection.new_id(), work_id, action);
        if let Some((object, data)) = data {
            request = request.with(object, data);
        }
        let busy = work_id != SYS && self.inner.setting_up.load(Ordering::Relaxed) > 0;
        let limit = if busy { limit + self.inner.options.set_up } else { limit };
        let stop = StopWhenDropped::of(&connection, &request);
        let mut ticket = connection.ask(&request, Kind::Other, Some(work_id))?;
        let reply = tokio::time::timeout(limit, ticket.next())
            .await
            .map_err(|_| ClientError::NoAnswer {
                action: action.to_owned(),
                work_id: work_id.to_owned(),
                seconds: limit.as_secs_f64(),
            })??;
        stop.not_needed();
        if reply.error.code.is_ok() {
            Ok(reply)
        } else {
            Err(refused(action, work_id, reply))
        }
    }
}

impl std::fmt::Debug for Module {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Module({}, connected: {})", self.address(), self.is_connected())
    }
}

/// Ends a task whose set-up timed out, should it succeed later: otherwise it would occupy one of the module's few
/// places.
fn end_when_ready(connection: Arc<Connection>, mut ticket: Ticket) {
    const PATIENCE: Duration = Duration::from_secs(600);
    tokio::spawn(async move {
        if let Ok(Ok(reply)) = tokio::time::timeout(PATIENCE, ticket.next()).await
            && reply.error.code.is_ok()
        {
            // Fails if the connection has closed meanwhile; then nothing can be done.
            let _ = connection.send(&Request::new(connection.new_id(), reply.work_id, action::EXIT));
        }
    });
}

/// Stops a score on the unit when its future is dropped.
struct StopWhenDropped {
    connection: Arc<Connection>,
    request: Option<Request>,
}

impl StopWhenDropped {
    fn of(connection: &Arc<Connection>, asked: &Request) -> Self {
        let request = (asked.action == extension::SCORE).then(|| {
            let data = extension::StopRequest {
                request_id: asked.request_id.clone(),
            };
            Request::new(connection.new_id(), &asked.work_id, extension::STOP).with(extension::STOP, to_data(&data))
        });
        Self {
            connection: Arc::clone(connection),
            request,
        }
    }

    fn not_needed(mut self) {
        self.request = None;
    }
}

impl Drop for StopWhenDropped {
    fn drop(&mut self) {
        if let Some(request) = self.request.take() {
            // Fails if the connection has closed meanwhile; then there is nothing to stop.
            let _ = self.connection.send(&request);
        }
    }
}

/// Counts down when a set-up ends, also when its future is dropped.
struct Lower<'a>(&'a AtomicUsize);

impl Drop for Lower<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(super) fn refused(action: &str, work_id: &str, reply: Reply) -> ClientError {
    ClientError::Refused {
        action: action.to_owned(),
        work_id: work_id.to_owned(),
        error: reply.error,
    }
}

/// Turns "no such task" into its own error.
pub(super) fn task_gone_error(error: ClientError, work_id: &str) -> ClientError {
    match error {
        ClientError::Refused { error, .. } if [Code::PUSH, Code::NO_SUCH_UNIT].contains(&error.code) => {
            ClientError::TaskGone {
                work_id: work_id.to_owned(),
                detail: format!("code {}: {}", error.code, error.code.meaning()),
            }
        }
        other => other,
    }
}

pub(super) fn parse_data<T: DeserializeOwned>(action: &str, data: Value) -> Result<T, ClientError> {
    serde_json::from_value(data).map_err(|error| unreadable(action, error.to_string()))
}

fn unreadable(action: &str, detail: String) -> ClientError {
    ClientError::Unreadable {
        action: action.to_owned(),
        detail,
    }
}

fn with_port(address: &str) -> String {
    let address = address.trim();
    if address.parse::<SocketAddr>().is_ok() {
        return address.to_owned();
    }
    if let Ok(ip) = address.trim_matches(['[', ']']).parse::<IpAddr>() {
        return SocketAddr::new(ip, DEFAULT_PORT).to_string();
    }
    match address.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => address.to_owned(),
        _ => format!("{address}:{DEFAULT_PORT}"),
    }
}

#[cfg(test)]
mod tests {
    use super::with_port;

    #[test]
    fn the_port_is_10001_where_none_is_given() {
        for (given, expected) in [
            ("m5stack-llm.local", "m5stack-llm.local:10001"),
            ("m5stack-llm.local:1234", "m5stack-llm.local:1234"),
            ("192.168.1.5", "192.168.1.5:10001"),
            (" 192.168.1.5:80 ", "192.168.1.5:80"),
            ("::1", "[::1]:10001"),
            ("[::1]", "[::1]:10001"),
            ("[::1]:7", "[::1]:7"),
        ] {
            assert_eq!(with_port(given), expected);
        }
    }
}
