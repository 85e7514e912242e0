//! `--rope-scaling`: how frequencies differ from those of their base, as one word.

use checkpoint::Scaling;

/// What may be given, as help says it.
pub const ROPE_SCALING_HELP: &str = "\
How frequencies differ from those of the base, rope_scaling in config.json: \
llama3,FACTOR,LOW,HIGH,CONTEXT (or those four numbers alone, such as 8,1,4,8192), \
linear,FACTOR, dynamic,FACTOR,CONTEXT, yarn,FACTOR,BETA_FAST,BETA_SLOW,CONTEXT (and \
,untruncated), longrope,CONTEXT,SHORT…,LONG…, one number per pair in both, or \
proportional,FACTOR,PAIRS";

/// A scaling as the word that [`rope_scaling`] reads; none if there is none.
pub(crate) fn written(scaling: &Scaling) -> Option<String> {
    let join = |numbers: &[f64]| {
        let numbers: Vec<String> = numbers.iter().map(f64::to_string).collect();
        numbers.join(",")
    };
    Some(match scaling {
        Scaling::None => return None,
        Scaling::Linear { factor } => format!("linear,{factor}"),
        Scaling::Dynamic { factor, trained } => format!("dynamic,{factor},{trained}"),
        Scaling::Llama3 { factor, low, high, trained } => {
            join(&[*factor, *low, *high, *trained])
        }
        Scaling::Yarn { factor, fast, slow, trained, whole } => {
            let ends = if *whole { "" } else { ",untruncated" };
            format!("yarn,{}{ends}", join(&[*factor, *fast, *slow, *trained]))
        }
        Scaling::Long { short, long, trained } => {
            format!("longrope,{trained},{},{}", join(short), join(long))
        }
        Scaling::Proportional { factor, pairs } => {
            format!("proportional,{factor},{pairs}")
        }
    })
}

/// Reads what [`ROPE_SCALING_HELP`] describes.
///
/// # Errors
/// When it is none of that.
pub fn rope_scaling(text: &str) -> Result<Scaling, String> {
    let mut words: Vec<&str> = text.split(',').map(str::trim).collect();
    let kind = match words.first() {
        Some(first) if first.parse::<f64>().is_ok() => "llama3",
        Some(_) => words.remove(0),
        None => "",
    };
    let whole = words.last() != Some(&"untruncated") || kind != "yarn";
    if !whole {
        words.pop();
    }
    let numbers: Option<Vec<f64>> =
        words.iter().map(|word| word.parse().ok()).collect();
    let wanted = || format!("wanted {}", wanted(kind));
    let numbers = numbers.ok_or_else(wanted)?;
    Ok(match (kind, &numbers[..]) {
        ("linear", [factor]) => Scaling::Linear { factor: *factor },
        ("dynamic", [factor, trained]) => {
            Scaling::Dynamic { factor: *factor, trained: *trained }
        }
        ("llama3", [factor, low, high, trained]) => Scaling::Llama3 {
            factor: *factor,
            low: *low,
            high: *high,
            trained: *trained,
        },
        ("yarn", [factor, fast, slow, trained]) => Scaling::Yarn {
            factor: *factor,
            fast: *fast,
            slow: *slow,
            trained: *trained,
            whole,
        },
        ("longrope", [trained, all @ ..]) if !all.is_empty() && all.len() % 2 == 0 => {
            let (short, long) = all.split_at(all.len() / 2);
            let (short, long) = (short.to_vec(), long.to_vec());
            Scaling::Long { short, long, trained: *trained }
        }
        ("proportional", [factor, pairs]) if pairs.fract() == 0.0 && *pairs >= 0.0 => {
            Scaling::Proportional { factor: *factor, pairs: *pairs as usize }
        }
        _ => return Err(wanted()),
    })
}

fn wanted(kind: &str) -> &'static str {
    match kind {
        "linear" => "linear,FACTOR, as in linear,4",
        "dynamic" => "dynamic,FACTOR,CONTEXT, as in dynamic,2,4096",
        "llama3" => "four numbers, as in 8,1,4,8192",
        "yarn" => "yarn,FACTOR,BETA_FAST,BETA_SLOW,CONTEXT, as in yarn,4,32,1,32768",
        "longrope" => "longrope,CONTEXT and two numbers for each pair",
        "proportional" => "proportional,FACTOR,PAIRS, as in proportional,1,16",
        _ => "linear, dynamic, llama3, yarn, longrope or proportional, and its numbers",
    }
}

#[cfg(test)]
mod tests {
    use super::{rope_scaling, written};

    #[test]
    fn what_is_written_is_read() {
        for text in [
            "linear,4",
            "dynamic,2.5,64",
            "8,1,4,8192",
            "yarn,40,32,1,4096",
            "yarn,4,16.5,2,64,untruncated",
            "longrope,4096,1,1.5,2,4.25",
            "proportional,2,3",
        ] {
            let scaling = rope_scaling(text).unwrap();
            assert_eq!(written(&scaling).as_deref(), Some(text));
        }
        assert_eq!(rope_scaling("llama3,8,1,4,8192"), rope_scaling("8, 1, 4, 8192"));
    }

    #[test]
    fn anything_else_is_told_what_is_wanted() {
        for (text, says) in [
            ("llama3", "four numbers"),
            ("8,1,4", "four numbers"),
            ("yarn,4", "BETA_FAST"),
            ("linear,4,untruncated", "linear,FACTOR"),
            ("longrope,4096,1,2,3", "two numbers for each pair"),
            ("proportional,1,1.5", "PAIRS"),
            ("ntk,4", "linear, dynamic"),
            ("", "linear, dynamic"),
        ] {
            let error = rope_scaling(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
