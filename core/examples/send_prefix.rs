//! Sends one prompt with a soft prefix to a module and prints the answer as it comes:
//! `cargo run -p softprefix-core --example send_prefix -- HOST:10001 MODEL "Tell me something."`

use std::io::Write as _;

use softprefix_core::client::{ConnectOptions, InferenceEvent, InferenceRequest, Module};
use softprefix_core::prefix::{Rounding, SoftPrefix};
use softprefix_core::protocol::SetUp;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, model, prompt] = arguments.as_slice() else {
        return Err("usage: send_prefix HOST:10001 MODEL PROMPT".into());
    };
    let module = Module::connect(address, ConnectOptions::default()).await?;
    let task = module
        .set_up(&SetUp::new(model, "You are a helpful assistant.").streaming(true))
        .await?;
    // Four rows of 896 equal numbers, the hidden size of Qwen2.5-0.5B; a module with our unit names its own in
    // `taskinfo`.
    let hidden_size = task.support().map_or(896, |support| support.hidden_size);
    let prefix = SoftPrefix::from_f32(hidden_size, &vec![0.02; 4 * hidden_size], Rounding::NearestEven)?;
    let mut answer = task.infer(InferenceRequest::new(prompt).prefix(Some(prefix)));
    while let Some(event) = answer.next().await {
        match event? {
            InferenceEvent::Delta(text) => print!("{text}"),
            InferenceEvent::Done(outcome) => println!("\nthe unit put in front: {:?}", outcome.echo),
        }
        std::io::stdout().flush()?;
    }
    Ok(task.exit().await?)
}
