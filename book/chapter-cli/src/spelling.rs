//! PyTorch's other names of a projection's tensors.

/// Where a tensor of a projection stands in a file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Place {
    /// Under this name.
    Whole(String),
    /// In a tensor of this name, as the part with this number out of three equal ones.
    Third(String, usize),
}

impl Place {
    /// The tensor to look for.
    pub(crate) fn name(&self) -> &str {
        let (Place::Whole(name) | Place::Third(name, _)) = self;
        name
    }
}

/// Everywhere that `part`, `weight` or `bias`, of the projection `name` may stand:
/// `torch.nn.MultiheadAttention` stacks those of queries, keys and values, and calls the
/// output projection `out_proj`.
pub(crate) fn places(name: &str, part: &str) -> Vec<Place> {
    let mut places = vec![Place::Whole(format!("{name}.{part}"))];
    if let Some(third) = ["q_proj", "k_proj", "v_proj"].iter().position(|&p| p == name)
    {
        places.push(Place::Third(format!("in_proj_{part}"), third));
        places.push(Place::Whole(format!("{name}_{part}")));
    }
    if name == "o_proj" {
        places.push(Place::Whole(format!("out_proj.{part}")));
    }
    places
}

/// One of three equal parts of `numbers`, which are the rows of a tensor.
pub(crate) fn third(numbers: &[f32], part: usize) -> Vec<f32> {
    let length = numbers.len() / 3;
    numbers[part * length..][..length].to_vec()
}
