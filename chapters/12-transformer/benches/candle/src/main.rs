//! candle's Llama, in f32 on the processor, for `../beside_pytorch.py`. The argument is a folder
//! with config.json and model.safetensors. A line of input is a number of tokens to write and
//! the tokens of a prompt; the answer is two times in milliseconds, that of the prompt and the
//! mean of the tokens after the first.

use anyhow::{Context, Result};
use candle_core::{DType, Device, IndexOp, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::llama::{Cache, Config, Llama, LlamaConfig};
use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;
use std::{env, fs};

fn main() -> Result<()> {
    let folder = env::args().nth(1).context("the folder of a model")?;
    let folder = Path::new(&folder);
    let config: LlamaConfig = serde_json::from_slice(&fs::read(folder.join("config.json"))?)?;
    let config = config.into_config(false);
    let weights = fs::read(folder.join("model.safetensors"))?;
    let weights = VarBuilder::from_buffered_safetensors(weights, DType::F32, &Device::Cpu)?;
    let llama = Llama::load(weights, &config)?;
    for line in io::stdin().lines() {
        let numbers = line?.split_whitespace().map(str::parse).collect::<Result<Vec<u32>, _>>()?;
        let (most, prompt) = numbers.split_first().context("an empty line")?;
        let (reading, writing) = run(&llama, &config, prompt, *most)?;
        println!("{reading} {writing}");
        io::stdout().flush()?;
    }
    Ok(())
}

fn run(llama: &Llama, config: &Config, prompt: &[u32], most: u32) -> Result<(f64, f64)> {
    let mut cache = Cache::new(true, DType::F32, config, &Device::Cpu)?;
    let mut next = |tokens: &[u32], at: usize| -> Result<u32> {
        let input = Tensor::new(tokens, &Device::Cpu)?.unsqueeze(0)?;
        let logits = llama.forward(&input, at, &mut cache)?;
        Ok(logits.i(0)?.argmax(0)?.to_scalar()?)
    };
    let started = Instant::now();
    let mut token = next(prompt, 0)?;
    let reading = started.elapsed();
    let started = Instant::now();
    for i in 1..most {
        token = next(&[token], prompt.len() + i as usize - 1)?;
    }
    let writing = started.elapsed().as_secs_f64() / f64::from(most.max(2) - 1);
    Ok((reading.as_secs_f64() * 1e3, writing * 1e3))
}
