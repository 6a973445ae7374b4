//! Files that are refused, and what the error says.

use crate::{fixture::pipeline, latents, refusal, saved, support::parity, tensors::Tensors, with, zeros};

#[test]
fn a_lora_for_another_model_is_named() {
    let pipeline = pipeline();
    let pair = |module: &str, outputs: usize, inputs: usize, parts: [&str; 2]| -> Tensors {
        let [down, up] = parts.map(|part| format!("{module}.{part}.weight"));
        Tensors::from([(down, zeros(&[4, inputs])), (up, zeros(&[outputs, 4]))])
    };
    let (kohya, modern) = (["lora_down", "lora_up"], ["lora_A", "lora_B"]);
    let transformer = "down_blocks_1_attentions_0_transformer_blocks_0";
    for (model, all) in [
        ("FLUX", pair("transformer.single_transformer_blocks.0.attn.to_q", 64, 64, modern)),
        ("FLUX", pair("lora_unet_double_blocks_0_img_attn_proj", 64, 64, kohya)),
        ("Stable Diffusion 3", pair("lora_unet_joint_blocks_0_x_block_attn_qkv", 64, 64, kohya)),
        ("Stable Diffusion 3", pair("transformer.transformer_blocks.0.attn.add_q_proj", 64, 64, modern)),
        ("Wan", pair("diffusion_model.blocks.0.cross_attn.k", 64, 64, modern)),
        ("Wan", pair("lora_unet_blocks_0_self_attn_q", 64, 64, kohya)),
        ("Qwen-Image", pair("transformer_blocks.0.img_mlp.net.2", 64, 64, modern)),
        ("Z-Image", pair("diffusion_model.layers.0.attention.to_q", 64, 64, modern)),
        ("LTX-Video", pair("transformer.transformer_blocks.0.attn1.to_q", 64, 64, modern)),
        ("Stable Diffusion 1", pair(&format!("lora_unet_{transformer}_attn2_to_k"), 320, 768, kohya)),
        ("Stable Diffusion 2", pair(&format!("lora_unet_{transformer}_attn2_to_k"), 320, 1024, kohya)),
        ("Stable Diffusion 1", pair("lora_unet_up_blocks_3_attentions_0_proj_in", 320, 320, kohya)),
        ("a language model", pair("base_model.model.model.layers.0.self_attn.q_proj", 64, 64, modern)),
        (
            "a textual inversion",
            Tensors::from([("clip_l".into(), zeros(&[2, 16])), ("clip_g".into(), zeros(&[2, 24]))]),
        ),
    ] {
        let (_folder, path) = saved(&all);
        let message = refusal(&pipeline, &path);
        assert!(message.contains("looks like") && message.contains(model), "{model}: {message}");
        assert!(message.starts_with("lora.safetensors: "), "{message}");
    }
}

#[test]
fn parts_that_do_not_belong_together_are_named() {
    let pipeline = pipeline();
    let module = "lora_unet_mid_block_attentions_0_proj_in";
    let refused = |parts: &[(&str, &[usize])], expected: &str| {
        let all = parts.iter().map(|(part, shape)| (format!("{module}.{part}"), zeros(shape)));
        let (_folder, path) = saved(&all.collect());
        let message = refusal(&pipeline, &path);
        assert!(message.contains(expected), "{expected}: {message}");
    };
    let w = |part: &'static str, shape: &'static [usize]| (part, shape);
    refused(&[w("lora_up.weight", &[20, 2])], "has no lora_down or lora_A");
    refused(&[w("lora_down.weight", &[2, 20])], "has no lora_up or lora_B");
    refused(
        &[w("lora_down.weight", &[2, 20]), w("lora_up.weight", &[20, 3])],
        "lora_up.weight has shape [20, 3], and the rank of",
    );
    refused(&[w("lora_down.weight", &[20000, 20]), w("lora_up.weight", &[20, 20000])], "is above 16384");
    refused(
        &[
            w("lora_down.weight", &[2, 20]),
            w("lora_up.weight", &[20, 2]),
            w("lora_mid.weight", &[3, 2, 3, 3]),
        ],
        "lora_mid.weight has shape [3, 2, 3, 3], and the ranks of",
    );
    refused(&[w("alpha", &[])], "has an alpha, but no matrices");
    refused(&[w("hada_w1_a", &[20, 2]), w("hada_w1_b", &[2, 20])], "has no hada_w2_a");
    refused(
        &[
            w("hada_w1_a", &[20, 2]),
            w("hada_w1_b", &[2, 20]),
            w("hada_w2_a", &[20, 2]),
            w("hada_w2_b", &[2, 7]),
        ],
        "is for another shape",
    );
    refused(&[w("lokr_w1", &[4, 4])], "has no lokr_w2");
    refused(&[w("lokr_w1", &[4, 4]), w("lokr_w2_a", &[5, 1])], "has no lokr_w2_b");
    refused(&[w("lokr_w1", &[4, 4]), w("lokr_w2", &[5, 4])], "is for another shape");
    refused(&[w("lokr_w1", &[4, 4, 3, 3]), w("lokr_w2", &[5, 5])], "should be a matrix");
    refused(&[w("dora_scale", &[20, 1])], "has lengths of DoRA, but no matrices");
    refused(&[w("diff", &[20, 20]), w("dora_scale", &[3, 1])], "is for another shape");
    refused(&[w("diff", &[20, 20]), w("dora_scale", &[4, 5])], "one number per row or column");
    refused(&[w("diff", &[20, 21])], "is for another shape");
    refused(&[w("diff_b", &[7])], "the bias of mid_block_attentions_0_proj_in of the unet is [20]");
    refused(&[w("w_norm", &[20])], "is for another shape");
    refused(&[w("on_input", &[]), w("weight", &[20])], "(IA)^3");
    refused(&[w("oft_blocks", &[2, 4, 4])], "OFT");
    refused(
        &[w("lora_A.one.weight", &[2, 20]), w("lora_A.two.weight", &[2, 20])],
        "are both the lora_down or lora_A",
    );

    let bias = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q.diff_b";
    let (_folder, path) = saved(&Tensors::from([(bias.to_owned(), zeros(&[20]))]));
    let message = refusal(&pipeline, &path);
    assert!(message.contains("attn1_to_q of the unet has no bias"), "{message}");
}

#[test]
fn a_changed_adapter_config_is_read_again_and_a_wrong_one_is_named() {
    let pipeline = pipeline();
    let from = parity().join("loras/peft_lora");
    let folder = tempfile::tempdir().expect("a folder");
    let [file, config] = ["adapter_model.safetensors", "adapter_config.json"].map(|n| folder.path().join(n));
    std::fs::copy(from.join("adapter_model.safetensors"), &file).expect("copied");
    let write = |text: &str| std::fs::write(&config, text).expect("written");
    let plain = latents(&pipeline, &with(&file, 1.0));
    write(r#"{"peft_type": "LORA", "lora_alpha": 4, "r": 2}"#);
    let doubled = latents(&pipeline, &with(&file, 1.0));
    assert!(doubled != plain);
    for (text, expected) in [
        ("[1]", "adapter_config.json is [1], and should be a JSON object"),
        ("{", "adapter_config.json: "),
        (r#"{"peft_type": "IA3"}"#, "\"peft_type\" is IA3, which is not supported"),
        (r#"{"lora_alpha": "x"}"#, "adapter_config.json: lora_alpha is \"x\""),
        (r#"{"alpha_pattern": {"to_[qk]": 1}}"#, "alpha_pattern.to_[qk] is a regular expression"),
        (r#"{"use_dora": true}"#, "has no lora_magnitude_vector"),
    ] {
        write(text);
        let message = refusal(&pipeline, &file);
        assert!(message.contains(expected), "{message}");
        assert!(!message.contains(&folder.path().to_string_lossy().into_owned()), "{message}");
    }
}
