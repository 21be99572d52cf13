"""The published networks once more, straight down the page in numpy float64, from their description alone."""

import numpy as np


def _linear(s, name, x):
    return x @ s[f"{name}.weight"].T + s[f"{name}.bias"]


def _norm(s, name, x):
    return (x - s[f"{name}.running_mean"]) / np.sqrt(s[f"{name}.running_var"] + 1e-5) * s[f"{name}.weight"] + s[
        f"{name}.bias"
    ]


def _leaky(x, slope):
    return np.where(x > 0, x, slope * x)


def softplus(x, beta=1.0):
    return np.logaddexp(0, beta * x) / beta


def doubles(state):
    return {k: v.double().numpy() for k, v in state.items()}


def vposer_v2_encode(s, x):
    x = _norm(s, "encoder_net.1", x)
    x = _leaky(_linear(s, "encoder_net.2", x), 0.01)
    x = _norm(s, "encoder_net.4", x)
    x = _linear(s, "encoder_net.6", x)
    x = _linear(s, "encoder_net.7", x)
    return _linear(s, "encoder_net.8.mu", x), softplus(_linear(s, "encoder_net.8.logvar", x))


def vposer_v2_decode(s, z):
    x = _leaky(_linear(s, "decoder_net.0", z), 0.01)
    x = _leaky(_linear(s, "decoder_net.3", x), 0.01)
    return six_to_matrix(_linear(s, "decoder_net.5", x))


def vposer_v1_encode(s, x):
    x = _norm(s, "bodyprior_enc_bn1", x)
    x = _leaky(_linear(s, "bodyprior_enc_fc1", x), 0.2)
    x = _norm(s, "bodyprior_enc_bn2", x)
    x = _leaky(_linear(s, "bodyprior_enc_fc2", x), 0.2)
    return _linear(s, "bodyprior_enc_mu", x), softplus(_linear(s, "bodyprior_enc_logvar", x))


def vposer_v1_decode(s, z):
    x = _leaky(_linear(s, "bodyprior_dec_fc1", z), 0.2)
    x = _leaky(_linear(s, "bodyprior_dec_fc2", x), 0.2)
    return six_to_matrix(_linear(s, "bodyprior_dec_out", x))


def six_to_matrix(x):
    """(B, 126), 21 times a (3, 2) matrix row by row -> (B, 21, 3, 3)."""
    m = x.reshape(len(x), 21, 3, 2)
    a, b = m[..., 0], m[..., 1]
    a = a / np.linalg.norm(a, axis=-1, keepdims=True)
    b = b - (a * b).sum(-1, keepdims=True) * a
    b = b / np.linalg.norm(b, axis=-1, keepdims=True)
    return np.stack([a, b, np.cross(a, b)], -1)


def matrix_to_rotvec(m):
    """(..., 3, 3) -> (..., 3) by the angle and the skew part; not for angles at 180 degrees."""
    angle = np.arccos(np.clip((np.trace(m, axis1=-2, axis2=-1) - 1) / 2, -1, 1))
    skew = np.stack([m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]], -1)
    return skew / (2 * np.sin(angle))[..., None] * angle[..., None]


PARENTS_OFF_BY_ONE = [-1, -1, -1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19]


def posendf(s, quat, act="softplus", normalise_across_joints=False):
    """(B, 21, 4) -> distances (B,), joint by joint."""
    if normalise_across_joints:
        quat = quat / np.linalg.norm(quat, axis=1, keepdims=True)
    f = (lambda x: softplus(x, 100.0)) if act == "softplus" else (lambda x: _leaky(x, 0.01))
    features = []
    for i, parent in enumerate(PARENTS_OFF_BY_ONE):
        x = quat[:, i] if parent == -1 else np.concatenate([quat[:, i], features[parent]], 1)
        x = f(_linear(s, f"enc.net.{i}.net.0", x))
        features.append(f(_linear(s, f"enc.net.{i}.net.2", x)))
    x = np.concatenate(features, 1)
    last = max(int(k.split(".")[1][3:]) for k in s if k.startswith("dfnet"))
    for k in range(last):
        x = f(_linear(s, f"dfnet.lin{k}", x))
    x = _linear(s, f"dfnet.lin{last}", x)
    return (softplus(x, 100.0) if act == "softplus" else np.maximum(x, 0))[:, 0]


def numeric_gradient(function, quat, h=1e-6):
    """Central differences of a function of (B, 21, 4), by every number."""
    out = np.zeros_like(quat)
    for j in range(21):
        for c in range(4):
            up, down = quat.copy(), quat.copy()
            up[:, j, c] += h
            down[:, j, c] -= h
            out[:, j, c] = (function(up) - function(down)) / (2 * h)
    return out


def unit_positive(quat):
    quat = np.where(quat[..., :1] < 0, -quat, quat)
    return quat / np.linalg.norm(quat, axis=-1, keepdims=True)
