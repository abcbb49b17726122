//! The program, spoken to over a plain socket.

#![allow(clippy::unwrap_used, reason = "helpers of tests may fail the test")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

/// A running program, ended with its test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn start(options: &[&str]) -> (Program, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fake-provider"));
    let mut program = Program(command.args(options).stdout(Stdio::piped()).spawn().unwrap());
    let mut address = String::new();
    BufReader::new(program.0.stdout.as_mut().unwrap()).read_line(&mut address).unwrap();
    let address = address.trim().strip_prefix("http://").expect("it prints its address").to_owned();
    (program, address)
}

/// Asks in OpenAI's protocol and gives the whole response.
fn ask(address: &str, key: &str) -> String {
    let body = r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(
        stream,
        "POST /v1/chat/completions HTTP/1.1\r\nhost: fake\r\nauthorization: Bearer {key}\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

#[test]
fn it_answers_as_it_was_told() {
    let (_program, address) =
        start(&["--text", "so be it", "--key", "k", "--fault", "status:500", "--times", "1"]);
    assert!(ask(&address, "wrong").starts_with("HTTP/1.1 401 "));
    assert!(ask(&address, "k").starts_with("HTTP/1.1 500 "));
    let good = ask(&address, "k");
    assert!(good.starts_with("HTTP/1.1 200 ") && good.contains("so be it"), "{good}");
}

#[test]
fn it_explains_its_options() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fake-provider"));
    let output = command.args(["--fault", "nonsense"]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && told.contains("usage: fake-provider") && told.contains("stall:N"),
        "{told}"
    );
}
