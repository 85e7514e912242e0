//! Networks that few tokens pass, and how the few are chosen.

use crate::config::Config;
use crate::error::ConfigError;
use crate::gated::{Gated, GatedNames};
use crate::keys::MOST_HEADS;
use crate::kinds::Network as Rule;
use crate::sizes::FeedForward;
use crate::whole::Activation;

/// The experts of a block.
#[derive(Debug, Clone, PartialEq)]
pub struct Experts {
    /// How many there are.
    pub experts: u64,
    /// How many a token passes.
    pub chosen: u64,
    /// Width of each.
    pub dim: u64,
    /// Bends the gate of each.
    pub bend: Bend,
    /// Where their matrices are, behind the block's prefix.
    pub layout: ExpertLayout,
    /// The scores of experts.
    pub router: Router,
    /// A network that every token passes beside them.
    pub shared: Option<Gated>,
    /// The matrix (1, width of a token) whose sigmoid the shared network is multiplied by.
    pub shared_gate: Option<&'static str>,
}

/// How the gate of an expert is bent, and what it is multiplied with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bend {
    /// activation(gate) · up
    Plain(Activation),
    /// gate · sigmoid(alpha · gate) · (up + 1), both cut off at `limit`: gpt-oss.
    Clamped {
        /// `swiglu_alpha`
        alpha: f64,
        /// `swiglu_limit`
        limit: f64,
    },
}

/// Where the matrices of experts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpertLayout {
    /// `PREFIX.E.GATE.weight` and so on, each (out, in).
    Each {
        /// What stands before an expert's number.
        prefix: &'static str,
        /// Gate, what passes, back.
        names: [&'static str; 3],
    },
    /// All in `mlp.experts.gate_up_proj` (expert, in, out), whose columns are gate and what
    /// passes in turns, and `mlp.experts.down_proj` (expert, in, out), with a bias each.
    Stacked,
}

/// What an expert's logit becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scoring {
    /// Its share of all.
    Softmax,
    /// Its share of those that are chosen.
    SoftmaxOfChosen,
    /// A number from 0 to 1 by itself.
    Sigmoid,
}

/// How a token's experts are chosen, and how much each counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Router {
    /// The matrix (experts, width of a token), behind the block's prefix.
    pub tensor: &'static str,
    /// Whether it adds a bias.
    pub bias: bool,
    /// What a logit becomes.
    pub scoring: Scoring,
    /// A number per expert that is added to choose, and not to count.
    pub correction: Option<&'static str>,
    /// Only experts of the best groups may be chosen.
    pub groups: Option<RouterGroups>,
    /// Whether the scores of the chosen are divided by their sum.
    pub normalized: bool,
    /// Added to that sum.
    pub eps: f64,
    /// And all are multiplied by this.
    pub factor: f64,
}

/// Groups of experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouterGroups {
    /// How many there are, one behind the other.
    pub groups: u64,
    /// How many may be chosen from.
    pub kept: u64,
    /// A group is as good as the sum of so many of its best.
    pub best: u64,
    /// What stands for the score of an expert of another group: 0, or −∞ if so.
    pub never: bool,
}

impl Config {
    /// The experts of a layer that has them.
    pub(crate) fn experts_of(&self, one: FeedForward) -> Result<Experts, ConfigError> {
        let FeedForward::Experts { experts, chosen, dim, shared_dim } = one else {
            return Err(self.not_here("model_type", "it has no experts"));
        };
        let named = |prefix| ExpertLayout::Each { prefix, names: GATED };
        let layout = match self.kind.network {
            Rule::Mixtral => ExpertLayout::Each {
                prefix: "block_sparse_moe.experts.",
                names: ["w1", "w3", "w2"],
            },
            Rule::GptOss => ExpertLayout::Stacked,
            _ => named("mlp.experts."),
        };
        let bend = if self.kind.network == Rule::GptOss {
            Bend::Clamped {
                alpha: self.keys.number("swiglu_alpha")?,
                limit: self.keys.number("swiglu_limit")?,
            }
        } else {
            Bend::Plain(self.activation()?)
        };
        let beside = match self.kind.network {
            Rule::Qwen { .. } => "mlp.shared_expert.",
            _ => "mlp.shared_experts.",
        };
        let shared = (shared_dim > 0).then_some(shared_dim).map(|dim| {
            Ok::<_, ConfigError>(Gated {
                prefix: beside.to_owned(),
                names: GatedNames::Three(GATED),
                dim,
                activation: self.activation()?,
                bias: false,
            })
        });
        let is_qwen = matches!(self.kind.network, Rule::Qwen { shared: true });
        Ok(Experts {
            experts,
            chosen,
            dim,
            bend,
            layout,
            router: self.router(experts)?,
            shared: shared.transpose()?,
            shared_gate: (is_qwen && shared_dim > 0)
                .then_some("mlp.shared_expert_gate"),
        })
    }

    fn router(&self, experts: u64) -> Result<Router, ConfigError> {
        let plain = Router {
            tensor: "mlp.gate",
            bias: false,
            scoring: Scoring::Softmax,
            correction: None,
            groups: None,
            normalized: true,
            eps: 0.0,
            factor: 1.0,
        };
        Ok(match self.kind.network {
            Rule::Mixtral => Router { tensor: "block_sparse_moe.gate", ..plain },
            Rule::GptOss => Router {
                tensor: "mlp.router",
                bias: true,
                scoring: Scoring::SoftmaxOfChosen,
                normalized: false,
                ..plain
            },
            Rule::Qwen { .. } => {
                Router { normalized: self.keys.flag("norm_topk_prob")?, ..plain }
            }
            _ => self.router_of_groups(experts, plain)?,
        })
    }

    /// Of the kinds that come from `DeepSeek`.
    fn router_of_groups(
        &self,
        experts: u64,
        plain: Router,
    ) -> Result<Router, ConfigError> {
        let factor = self.keys.number("routed_scaling_factor")?;
        let groups = |best, never| {
            let groups = self.keys.count("n_group", MOST_HEADS)?;
            let kept = self.keys.count("topk_group", groups)?;
            if !experts.is_multiple_of(groups) || experts / groups < best {
                let why = "experts fall into groups of one size, of two at least";
                return Err(self.not_here("n_group", why));
            }
            Ok(RouterGroups { groups, kept, best, never })
        };
        Ok(match self.kind() {
            "deepseek_v2" => Router {
                // Its own code divides by the sum where `norm_topk_prob` says so;
                // Transformers does not.
                normalized: self.never_normalized()?,
                groups: self.v2_groups(groups)?,
                factor,
                ..plain
            },
            "mistral4" => Router {
                normalized: self.keys.flag("norm_topk_prob")?,
                eps: 1e-20,
                groups: Some(groups(2, false)?),
                factor,
                ..plain
            },
            _ => Router {
                scoring: Scoring::Sigmoid,
                correction: Some("mlp.gate.e_score_correction_bias"),
                normalized: self.keys.flag("norm_topk_prob")?,
                eps: 1e-20,
                groups: Some(groups(2, true)?),
                factor,
                ..plain
            },
        })
    }

    fn never_normalized(&self) -> Result<bool, ConfigError> {
        match self.keys.get("norm_topk_prob").map(serde_json::Value::as_bool) {
            Some(Some(true)) => Err(self.not_here(
                "norm_topk_prob",
                "Transformers does not divide the scores of this kind by their sum, and \
                 the model's own code does",
            )),
            _ => Ok(false),
        }
    }

    fn v2_groups(
        &self,
        groups: impl Fn(u64, bool) -> Result<RouterGroups, ConfigError>,
    ) -> Result<Option<RouterGroups>, ConfigError> {
        match self.keys.get("topk_method").and_then(|method| method.as_str()) {
            Some("greedy") => Ok(None),
            Some("group_limited_greedy") => Ok(Some(groups(1, false)?)),
            _ => {
                let why = "greedy and group_limited_greedy are known here";
                Err(self.not_here("topk_method", why))
            }
        }
    }
}

const GATED: [&str; 3] = ["gate_proj", "up_proj", "down_proj"];
