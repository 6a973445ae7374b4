//! Embeddings that cannot be used, and what a job with embeddings leaves behind: nothing.

use std::path::Path;

use candle_core::Tensor;
use glimpse_shared::prompt::PromptSyntax;
use glimpse_worker::pipeline::{
    EmbeddingChoice, Inputs, Pipeline, PipelineError, PipelineWarning, SdxlPipeline,
};

use crate::{fixture::pipeline, latents, support::parity, tensors::Tensors, zeros};

fn fox(embeddings: Vec<EmbeddingChoice>) -> Inputs {
    let mut inputs = Inputs::new("a fox in kite-style, <Ink>", 32, 32);
    inputs.num_inference_steps = 1;
    inputs.embeddings = embeddings;
    inputs
}

fn stored(name: &str, token: &str) -> EmbeddingChoice {
    let path = parity().join("embeddings").join(format!("{name}.safetensors"));
    EmbeddingChoice { tokens: vec![token.to_owned()], ..EmbeddingChoice::file(path) }
}

fn refusal(pipeline: &SdxlPipeline, inputs: &Inputs) -> String {
    match pipeline.begin(inputs) {
        Err(PipelineError::BadRequest { field: "embeddings", message }) => message,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it was used"),
    }
}

fn saved(folder: &Path, name: &str, tensors: &[(&str, Tensor)]) -> EmbeddingChoice {
    let tensors: Tensors =
        tensors.iter().map(|(name, tensor)| ((*name).to_owned(), tensor.clone())).collect();
    let path = folder.join(name);
    candle_core::safetensors::save(&tensors, &path).expect("saved");
    EmbeddingChoice { tokens: vec!["<new>".to_owned()], ..EmbeddingChoice::file(path) }
}

#[test]
fn the_next_job_does_not_know_the_words() {
    let pipeline = pipeline();
    let plain = latents(&pipeline, &fox(Vec::new()));
    let ink = latents(&pipeline, &fox(vec![stored("ink", "<Ink>")]));
    let kite = latents(&pipeline, &fox(vec![stored("kite-style", "kite-style")]));
    assert!(plain != ink && plain != kite && ink != kite);
    // Two jobs at once, each with its own.
    let embeddings = [Vec::new(), vec![stored("ink", "<Ink>")], vec![stored("kite-style", "kite-style")]];
    let mut jobs = embeddings.map(|embeddings| pipeline.begin(&fox(embeddings)).expect("begins"));
    for (job, alone) in jobs.iter_mut().zip([&plain, &ink, &kite]) {
        pipeline.step(&mut [&mut *job]).expect("steps");
        let numbers: Vec<f32> = job.latents().flatten_all().and_then(|t| t.to_vec1()).expect("numbers");
        assert!(&numbers == alone);
    }
    assert!(latents(&pipeline, &fox(Vec::new())) == plain);
}

#[test]
fn a_file_that_cannot_be_used_is_named() {
    let pipeline = pipeline();
    let folder = tempfile::tempdir().expect("a folder");
    let [l, g] = [zeros(&[2, 16]), zeros(&[2, 24])];
    let infinite = Tensor::full(f32::INFINITY, &[1, 16], &candle_core::Device::Cpu).expect("a tensor");
    let (wide, three, long) = (zeros(&[2, 32]), zeros(&[3, 24]), zeros(&[76, 24]));
    let cases: [(&[(&str, Tensor)], &str); 11] = [
        (&[("emb_params", l.clone())], "another model: emb_params is the form of Stable Diffusion 1 and 2"),
        (&[("string_to_param.*", l.clone())], "another model"),
        (
            &[("clip_l", l.clone()), ("clip_g", wide.clone())],
            "second text encoder have width 32, and those of this model have 24",
        ),
        (&[("<word>", wide)], "its vectors have width 32, and those of this model have 16 and 24"),
        (
            &[("clip_l", l.clone()), ("clip_g", three)],
            "2 vectors for the first text encoder and 3 for the second",
        ),
        (&[("clip_l", l.clone()), ("lora.up", g.clone())], "not an embedding for SDXL"),
        (&[("clip_l", zeros(&[0, 16]))], "clip_l has shape [0, 16], and should have at least one vector"),
        (
            &[("clip_g", zeros(&[1, 2, 12]))],
            "clip_g has shape [1, 2, 12], and should have the axes [vectors, width]",
        ),
        (&[("clip_l", infinite)], "not finite"),
        (&[("clip_g", long)], "76 vectors, and the model reads at most 75 tokens"),
        (&[("clip_l_out", l.clone()), ("clip_g_out", g)], "no vectors for a text encoder"),
    ];
    for (i, (tensors, part)) in cases.into_iter().enumerate() {
        let choice = saved(folder.path(), &format!("{i}.safetensors"), tensors);
        let message = refusal(&pipeline, &fox(vec![choice]));
        assert!(message.starts_with(&format!("{i}.safetensors: ")) && message.contains(part), "{message}");
    }
    std::fs::write(folder.path().join("text.safetensors"), "Entry not found").expect("written");
    let message =
        refusal(&pipeline, &fox(vec![EmbeddingChoice::file(folder.path().join("text.safetensors"))]));
    assert!(message.contains("Entry not found"), "{message}");
    let message =
        refusal(&pipeline, &fox(vec![EmbeddingChoice::file(folder.path().join("none.safetensors"))]));
    assert_eq!(message, "none.safetensors: not found");
    let two = EmbeddingChoice { tokens: vec!["a-b".into(), "c-d".into()], ..stored("kite-style", "x") };
    let message = refusal(&pipeline, &fox(vec![two]));
    assert!(message.contains("3 vectors, and 2 tokens"), "{message}");
    let two = EmbeddingChoice { tokens: vec!["a-b".into(), "c-d".into()], ..stored("ink", "x") };
    let message = refusal(&pipeline, &fox(vec![two]));
    assert!(message.contains("1 vector, and 2 tokens"), "{message}");
}

/// The warnings of a job.
fn warnings(pipeline: &SdxlPipeline, inputs: &Inputs) -> Vec<PipelineWarning> {
    pipeline.warnings(&pipeline.begin(inputs).unwrap_or_else(|e| panic!("{e}")))
}

#[test]
fn an_embedding_that_no_prompt_names_is_warned_of() {
    let pipeline = pipeline();
    let [ink, kite] = [stored("ink", "<Ink>"), stored("kite-style", "kite-style")];
    let unread = |choice: &EmbeddingChoice| PipelineWarning::EmbeddingIgnored {
        name: choice.name.clone(),
        tokens: choice.tokens.clone(),
        fits: true,
    };
    let both = vec![ink.clone(), kite.clone()];
    for prompt_syntax in [PromptSyntax::Plain, PromptSyntax::A1111] {
        let with = |prompt: &str, negative: &str, guidance_scale| Inputs {
            prompt: prompt.to_owned(),
            negative_prompt: Some(negative.to_owned()),
            prompt_syntax,
            guidance_scale,
            ..fox(both.clone())
        };
        for (inputs, expected) in [
            (with("a kite-style fox, <ink>", "", 5.0), vec![]),
            (with("a kite-style fox", "<Ink>", 5.0), vec![]),
            // Without guidance the negative prompt is not read.
            (with("a kite-style fox", "<Ink>", 1.0), vec![unread(&ink)]),
            (with("a fox", "", 5.0), vec![unread(&ink), unread(&kite)]),
        ] {
            assert_eq!(warnings(&pipeline, &inputs), expected, "{:?} {prompt_syntax:?}", inputs.prompt);
        }
    }
}

#[test]
fn what_is_truncated_is_quoted_as_it_was_sent() {
    let pipeline = pipeline();
    let quoted = |tokens_before: usize| {
        let prompt = format!("{}kite-style, a kite-style fox", "a ".repeat(tokens_before));
        let inputs = Inputs { prompt, ..fox(vec![stored("kite-style", "kite-style")]) };
        let all = warnings(&pipeline, &inputs);
        let Some(PipelineWarning::PromptTruncated { by: [Some(first), _], .. }) = all.first() else {
            panic!("{all:?}");
        };
        first.rest.clone()
    };
    // The word has three vectors.
    assert_eq!(quoted(75), "kite-style, a kite-style fox");
    assert_eq!(quoted(74), "kite-style, a kite-style fox");
    assert_eq!(quoted(73), "kite-style, a kite-style fox");
    assert_eq!(quoted(72), ", a kite-style fox");
}

#[test]
fn a_token_must_be_new() {
    let pipeline = pipeline();
    let twice = fox(vec![stored("ink", "Ink"), stored("mist", "ink")]);
    assert!(refusal(&pipeline, &twice).contains("two embeddings have the token \"ink\""));
    // As in diffusers: a token of the vocabulary.
    for token in ["a</w>", "!", "<|endoftext|>"] {
        let message = refusal(&pipeline, &fox(vec![stored("ink", token)]));
        assert!(message.contains("the model knows the token"), "{message}");
    }
    // The token of a second vector, which an embedding has or, as diffusers reads a prompt, would get.
    for [first, second] in [["x_1", "x"], ["x", "x_1"], ["x", "X_1"], ["X_1", "x"]] {
        let message = refusal(&pipeline, &fox(vec![stored("ink", first), stored("mist", second)]));
        assert!(
            message.contains(&format!("the tokens {first:?} and {second:?} of two embeddings clash")),
            "{message}"
        );
    }
    // As the tokenizer compares them: letter by letter in small letters, composed, and with single spaces.
    for [first, second] in [["ΟΔΟΣ", "οδοσ"], ["caf\u{e9}", "cafe\u{301}"], ["a  b", "a b"]] {
        let message = refusal(&pipeline, &fox(vec![stored("ink", first), stored("mist", second)]));
        assert!(message.contains("two embeddings have the token"), "{message}");
    }
    // The web UI finds a word by its tokens, and then a word of the vocabulary is replaced.
    let word = |embeddings| Inputs { prompt_syntax: PromptSyntax::A1111, ..fox(embeddings) };
    assert!(latents(&pipeline, &word(vec![stored("ink", "fox")])) != latents(&pipeline, &word(Vec::new())));
}
