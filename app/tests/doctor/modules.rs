//! Modules to talk to: a real unit on loopback, and the same unit behind a wire that makes it behave as older units do.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use serde_json::Value;
use softprefix_unit::listen;
use softprefix_unit::models::{ModelStore, Places};
use softprefix_unit::testing::TinyModel;
use softprefix_unit::unit::{Unit, UnitOptions};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A store with a small random model.
pub fn tiny_store() -> ModelStore {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        TinyModel {
            window: 1024,
            ..TinyModel::qwen2()
        }
        .write(&folder.path().join("tiny.gguf"))
        .unwrap();
        folder
    });
    let path = folder.path().join("tiny.gguf");
    ModelStore::new(Places::only(folder.path().to_owned()).with_named(path))
}

/// Serves our unit with a small random model until the runtime ends.
pub async fn ours() -> SocketAddr {
    serve(tiny_store()).await
}

/// Serves our unit with these models until the runtime ends.
pub async fn serve(models: ModelStore) -> SocketAddr {
    let unit = Arc::new(Unit::new(Arc::new(models), UnitOptions::default()));
    let listener = listen::bind("127.0.0.1:0".parse().unwrap(), false).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(listen::serve(listener, unit, std::future::pending()));
    address
}

/// What an older unit does differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Drops prefixes without a word.
    Stock,
    /// Applies prefixes, says nothing about them.
    Patched,
    /// Patched, and a stream stops after its first frame.
    Stalling,
    /// Patched, and ends no task.
    Clinging,
    /// Patched, and answers no inference.
    Mute,
    /// Patched, and no two texts are the same.
    Sampling,
    /// Patched, and answers all but the second inference.
    MuteOnce,
    /// Patched, and lists no model.
    WithoutCards,
}

/// Our unit behind a wire that takes away what an older unit does not know.
pub async fn older(manner: Manner) -> SocketAddr {
    let unit = ours().await;
    server(move |client| wire(client, unit, manner)).await
}

/// Accepts connections and serves each in a task of its own.
pub async fn server<F: Future<Output = ()> + Send + 'static>(
    answer: impl Fn(TcpStream) -> F + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(answer(client));
        }
    });
    address
}

pub async fn wire(client: TcpStream, unit: SocketAddr, manner: Manner) {
    let unit = TcpStream::connect(unit).await.unwrap();
    let (from_client, mut to_client) = client.into_split();
    let (from_unit, mut to_unit) = unit.into_split();
    let asking = async {
        let mut lines = BufReader::new(from_client).lines();
        let mut inferences = 0;
        while let Ok(Some(line)) = lines.next_line().await {
            let mut request: Value = serde_json::from_str(&line).unwrap();
            if let Some(data) = request.get_mut("data").and_then(Value::as_object_mut) {
                data.remove("softprefix");
                if manner == Manner::Stock {
                    data.remove("soft_prefix");
                }
            }
            if request["action"] == "inference" {
                inferences += 1;
                if manner == Manner::Mute || manner == Manner::MuteOnce && inferences == 2 {
                    continue;
                }
            }
            if manner == Manner::Clinging && request["action"] == "exit" {
                request["action"] = "nothing that it knows".into();
            }
            if to_unit
                .write_all(format!("{}\n", escaped(&request)).as_bytes())
                .await
                .is_err()
            {
                break;
            }
        }
    };
    let answering = async {
        let mut lines = BufReader::new(from_unit).lines();
        let mut texts = 0;
        while let Ok(Some(line)) = lines.next_line().await {
            let mut reply: Value = serde_json::from_str(&line).unwrap();
            let top = reply.as_object_mut().unwrap();
            top.remove("soft_prefix");
            top.remove("usage");
            let frame = top["object"].as_str().is_some_and(|object| object.contains("stream"));
            match top.get_mut("data") {
                Some(Value::Object(data)) => {
                    data.remove("soft_prefix");
                    let later = data.get("index").and_then(Value::as_u64).is_some_and(|index| index > 0);
                    if manner == Manner::Stalling && frame && later {
                        continue;
                    }
                }
                Some(Value::String(text)) if manner == Manner::Sampling => {
                    texts += 1;
                    text.push_str(&texts.to_string());
                }
                Some(Value::Array(cards)) if manner == Manner::WithoutCards => cards.clear(),
                Some(Value::Array(cards)) => {
                    for card in cards.iter_mut().filter_map(Value::as_object_mut) {
                        card.remove("softprefix");
                    }
                }
                _ => {}
            }
            if to_client
                .write_all(format!("{}\n", escaped(&reply)).as_bytes())
                .await
                .is_err()
            {
                break;
            }
        }
    };
    tokio::select! { () = asking => {}, () = answering => {} }
}

/// As llm-sys wants it: no brace inside a string.
fn escaped(value: &Value) -> String {
    let bytes = softprefix_core::protocol::frame::encode(value);
    String::from_utf8(bytes).unwrap().trim_end().to_owned()
}
