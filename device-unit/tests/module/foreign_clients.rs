//! Web pages and other programs cannot control the module, nor a unit that belongs to one program.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;
use softprefix_core::client::{ClientError, ConnectOptions, InferenceRequest, Module};
use softprefix_core::protocol::extension::Secret;
use softprefix_core::protocol::{Code, SetUp};

use crate::common::*;

/// Sends what a browser sends for `fetch(url, {method: "POST", mode: "no-cors", body})`, in `pieces` pieces.
fn fetch_from_a_page(server: &Server, body: &str, pieces: usize) -> Vec<u8> {
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.set_nodelay(true).unwrap();
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {}\r\nConnection: keep-alive\r\nContent-Length: {}\r\nUser-Agent: Mozilla/5.0\r\n\
         Content-Type: text/plain;charset=UTF-8\r\nAccept: */*\r\nOrigin: http://example.org\r\nSec-Fetch-Mode: no-cors\r\n\r\n{body}",
        server.address,
        body.len()
    );
    for piece in request.as_bytes().chunks(request.len().div_ceil(pieces)) {
        // The server closes the connection in between.
        if stream.write_all(piece).is_err() {
            break;
        }
        if pieces > 1 {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "it is closed"),
    }
    answer
}

#[test]
fn a_web_page_cannot_control_the_module() {
    let server = Server::start();
    let mut client = server.client();
    let task = client.set_up(&whole("tiny", 127));
    let commands = [
        bare("p", "sys", "ping"),
        bare("v", "sys", "version"),
        bare("t", "llm", "taskinfo"),
        bare("e", &task, "exit"),
        bare("r", "sys", "reset"),
        request("s", "llm", "setup", "llm.setup", whole("tiny", 127)),
        infer("i", &task, "hello"),
    ];
    for command in &commands {
        for pieces in [1, 7, 60] {
            let body = format!("{command}\n{command}\n");
            assert_eq!(
                fetch_from_a_page(&server, &body, pieces),
                b"",
                "{command} in {pieces} pieces"
            );
        }
    }
    let tasks = client.ask(&bare("t", "llm", "taskinfo"));
    assert_eq!(tasks["data"], json!([task]), "the task is there, and no other");
}

#[test]
fn other_browser_requests_and_tls_handshakes_are_ignored_too() {
    let server = Server::start();
    let ping = bare("p", "sys", "ping").to_string();
    for start in [
        "GET /".to_owned(),
        format!("GET /?{ping} HTTP/1.1\r\n\r\n"),
        "OPTIONS / HTTP/1.1\r\n\r\n".to_owned(),
        "\r\n\r\nPUT / HTTP/1.1\r\n\r\n".to_owned(),
        "\u{16}\u{3}\u{1}".to_owned(),
    ] {
        let mut client = server.client();
        client.write(format!("{start}\n{ping}\n").as_bytes());
        let mut answer = Vec::new();
        client.stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        if let Err(error) = client.stream.read_to_end(&mut answer) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{start:?}");
        }
        assert_eq!(answer, b"", "{start:?}");
    }
}

#[test]
fn a_request_line_after_a_message_is_ordinary_garbage() {
    let server = Server::start();
    let mut client = server.client();
    assert_eq!(client.ask(&bare("p", "sys", "ping"))["request_id"], "p");
    client.write(b"POST / HTTP/1.1\r\n");
    assert_eq!(error(&client.next()).0, -2);
    assert_eq!(client.ask(&bare("q", "sys", "ping"))["request_id"], "q");
}

#[test]
fn a_unit_that_belongs_to_one_program_serves_no_other_client() {
    let secret = Secret::random().unwrap();
    let server = Server::belonging_to(secret.clone());
    let ping = bare("p", "sys", "ping").to_string();
    let other = Secret::random().unwrap();
    for start in [&[][..], &other.line(), b"softprefix \n", b"\n", b"hello\n"] {
        let mut client = server.client();
        client.write(&[start, ping.as_bytes(), b"\n"].concat());
        let (code, message) = error(&client.next());
        assert_eq!(code, -10, "{message}");
        assert!(message.contains("no other"), "{message}");
        assert!(client.is_closed());
    }
    assert_eq!(fetch_from_a_page(&server, &ping, 1), b"");

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let address = server.address.to_string();
        let other = Module::connect(&address, ConnectOptions::default()).await.unwrap();
        match other.ping().await {
            Err(ClientError::Refused { error, .. }) => assert_eq!(error.code, Code::NOT_AVAILABLE),
            Err(other) => assert!(other.is_disconnect(), "{other}"),
            Ok(_) => panic!("it was answered"),
        }
        let options = ConnectOptions {
            secret: Some(secret),
            ..ConnectOptions::default()
        };
        let own = Module::connect(&address, options).await.unwrap();
        own.reconnect().await.unwrap();
        let task = own.set_up(&SetUp::new("tiny", "").max_positions(127)).await.unwrap();
        let outcome = task.infer(InferenceRequest::new("hello")).outcome().await.unwrap();
        assert!(!outcome.text.is_empty());
    });
}

#[test]
fn a_silent_client_does_not_block_a_unit_that_belongs_to_one_program() {
    let server = Server::belonging_to(Secret::random().unwrap());
    let mut client = server.client();
    assert_eq!(error(&client.next()).0, -10);
    assert!(client.is_closed());
}
