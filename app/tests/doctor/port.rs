//! Port 10001 of a module in a jail: what answers there follows the jail's services and files. No llm-sys: nothing listens. No LLM unit:
//! "unit call false (-9)". The stock unit: a real unit behind a wire that takes the prefixes away. softprefix-unit: the real unit as it is.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use softprefix_unit::model::ModelSource as _;
use softprefix_unit::models::{ModelStore, Places};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::installing::OURS;
use crate::jail::Jail;
use crate::modules::{Manner, serve, server, tiny_store, wire};

/// The address that a module has.
pub const ADDRESS: &str = "127.0.0.1:10001";

/// Which of the jail's services run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Services {
    Off,
    NoUnit,
    Stock,
    SoftprefixUnit,
}

impl Services {
    fn of(root: &Path) -> Self {
        let read = |name: &str| std::fs::read_to_string(root.join("var/lib/stand-in").join(name)).unwrap_or_default();
        match (
            read("llm-sys").trim(),
            read("llm-llm").trim(),
            read("llm-llm.program").trim(),
        ) {
            ("active", "active", OURS) => Self::SoftprefixUnit,
            ("active", "active", _) => Self::Stock,
            ("active", _, _) => Self::NoUnit,
            _ => Self::Off,
        }
    }
}

/// A small model of random weights.
pub fn tiny() -> ModelStore {
    tiny_store()
}

/// A model that writes sentences, where one is on this machine.
pub fn real() -> ModelStore {
    ModelStore::new(Places::from_env())
}

/// Answers for the jail until the runtime ends. The module's cards name what the unit has.
pub async fn reflect(jail: &Jail, models: ModelStore) {
    let cards = jail.at("/opt/m5stack/data/models");
    let _ = std::fs::remove_dir_all(&cards);
    std::fs::create_dir_all(&cards).unwrap();
    for card in models.cards() {
        let name = card["mode"].as_str().unwrap_or_default().to_owned();
        std::fs::write(cards.join(format!("mode_{name}.json")), card.to_string()).unwrap();
    }
    let root = jail.at("/");
    let unit = serve(models).await;
    tokio::spawn(follow(root, unit));
}

async fn follow(root: PathBuf, unit: SocketAddr) {
    loop {
        let services = Services::of(&root);
        if services == Services::Off {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        }
        // Another jail's port, of another program, may just be closing.
        let Ok(listener) = TcpListener::bind(ADDRESS).await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        // Whatever changes ends the connections, as a restart of a service does.
        let mut connections = tokio::task::JoinSet::new();
        while Services::of(&root) == services {
            let soon = tokio::time::timeout(Duration::from_millis(20), listener.accept());
            if let Ok(Ok((client, _))) = soon.await {
                connections.spawn(answer(client, unit, services));
            }
        }
    }
}

async fn answer(client: TcpStream, unit: SocketAddr, services: Services) {
    match services {
        Services::Off => {}
        Services::NoUnit => without_unit(client, unit).await,
        Services::Stock => wire(client, unit, Manner::Stock).await,
        Services::SoftprefixUnit => {
            let (mut client, mut unit) = (client, TcpStream::connect(unit).await.unwrap());
            let _ = tokio::io::copy_bidirectional(&mut client, &mut unit).await;
        }
    }
}

/// The port of a module whose LLM unit does not run.
pub async fn unit_that_is_off(sys: SocketAddr) -> SocketAddr {
    server(move |client| without_unit(client, sys)).await
}

/// llm-sys answers for itself; for the unit it says that it is not there.
async fn without_unit(client: TcpStream, sys: SocketAddr) {
    let (from_client, mut to_client) = client.into_split();
    let mut requests = BufReader::new(from_client).lines();
    while let Ok(Some(line)) = requests.next_line().await {
        let request: Value = serde_json::from_str(&line).unwrap();
        let text = |key: &str| request[key].as_str().unwrap_or_default().to_owned();
        let work_id = text("work_id");
        let reply = if work_id.is_empty() || work_id.starts_with("sys") {
            let (from_sys, mut to_sys) = TcpStream::connect(sys).await.unwrap().into_split();
            let _ = to_sys.write_all(format!("{line}\n").as_bytes()).await;
            let reply = BufReader::new(from_sys).lines().next_line().await;
            reply.ok().flatten().unwrap_or_default()
        } else {
            let error = json!({"code": -9, "message": "unit call false"});
            json!({"created": 0, "data": "None", "error": error, "object": "None", "request_id": text("request_id"), "work_id": work_id})
                .to_string()
        };
        if to_client.write_all(format!("{reply}\n").as_bytes()).await.is_err() {
            break;
        }
    }
}
