"""JAX by hand (jit and scan over 64 steps) and Keras 3, whose backend is one per process."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from cases import Case, rows
from gate import FOREVER, Gate
from peers import absent
from timing import Variant


def arrays(case: Case) -> tuple[np.ndarray, np.ndarray]:
    x, y = rows(case.name)
    x = x.permute(0, 2, 3, 1) if x.dim() == 4 else x  # both put channels last
    return np.ascontiguousarray(x.cpu().numpy()), y.cpu().numpy()


# --- JAX --------------------------------------------------------------------------------------------------------------
def _layers(case: Case) -> list[tuple[str, tuple[int, ...]]]:
    return {
        "a": [("fc1", (784, 512)), ("fc2", (512, 512)), ("fc3", (512, 10))],
        "b": [("conv1", (3, 3, 1, 32)), ("conv2", (3, 3, 32, 64)), ("fc1", (9216, 128)), ("fc2", (128, 10))],
        "c": [("fc1", (20, 64)), ("fc2", (64, 64)), ("fc3", (64, 2))],
    }[case.name]


def _start(case: Case) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters and running statistics."""
    import jax.numpy as jnp

    rng = np.random.default_rng(0)
    params, stats = {}, {}
    for name, shape in _layers(case):
        bound = 1 / np.sqrt(np.prod(shape[:-1]))
        params[f"{name}.w"] = jnp.asarray(rng.uniform(-bound, bound, shape), jnp.float32)
        params[f"{name}.b"] = jnp.zeros(shape[-1])
    for name in {"a": ("fc1", "fc2"), "b": ("conv1", "conv2"), "c": ()}[case.name]:
        n = params[f"{name}.b"].shape
        params |= {f"{name}.g": jnp.ones(n), f"{name}.c": jnp.zeros(n)}
        stats |= {f"{name}.m": jnp.zeros(n), f"{name}.v": jnp.ones(n)}
    return params, stats


def _network(case: Case) -> Callable[..., Any]:
    """(params, stats, x, key) → logits, new stats."""
    import jax
    import jax.numpy as jnp

    def norm(p: Any, s: Any, new: Any, n: str, x: Any) -> Any:
        axes = tuple(range(x.ndim - 1))
        m, v = x.mean(axes), x.var(axes)
        new |= {f"{n}.m": 0.9 * s[f"{n}.m"] + 0.1 * m, f"{n}.v": 0.9 * s[f"{n}.v"] + 0.1 * v}
        return (x - m) * jax.lax.rsqrt(v + 1e-5) * p[f"{n}.g"] + p[f"{n}.c"]

    def dense(p: Any, n: str, x: Any) -> Any:
        return x @ p[f"{n}.w"] + p[f"{n}.b"]

    def drop(x: Any, rate: float, key: Any) -> Any:
        return jnp.where(jax.random.bernoulli(key, 1 - rate, x.shape), x / (1 - rate), 0)

    def conv(p: Any, n: str, x: Any) -> Any:
        dims = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, p[f"{n}.w"], (1, 1), "VALID", dimension_numbers=dims) + p[f"{n}.b"]

    def forward(p: Any, s: Any, x: Any, key: Any) -> Any:
        new: dict[str, Any] = {}
        if case.name == "c":
            return dense(p, "fc3", jax.nn.relu(dense(p, "fc2", jax.nn.relu(dense(p, "fc1", x))))), new
        if case.name == "a":
            for n, k in zip(("fc1", "fc2"), jax.random.split(key), strict=True):
                x = drop(jax.nn.relu(norm(p, s, new, n, dense(p, n, x))), 0.5, k)
            return dense(p, "fc3", x), new
        for n in ("conv1", "conv2"):
            x = jax.nn.relu(norm(p, s, new, n, conv(p, n, x)))
        x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        return dense(p, "fc2", jax.nn.relu(dense(p, "fc1", drop(x.reshape(len(x), -1), 0.25, key)))), new

    return forward


def jax_scan(case: Case, k: int) -> Variant:
    def start() -> Callable[[int], None]:
        import jax
        import jax.numpy as jnp
        import optax

        forward = _network(case)
        momentum = optax.sgd(case.rate, momentum=0.9, nesterov=True)
        rule = momentum if case.optimizer == "nesterov" else optax.adamw(case.rate, weight_decay=0.01)

        def loss(p: Any, s: Any, x: Any, y: Any, key: Any) -> Any:
            logits, new = forward(p, s, x, key)
            return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean(), new

        def step(carry: Any, batch: Any) -> Any:
            p, s, o = carry
            (value, s), g = jax.value_and_grad(loss, has_aux=True)(p, s, *batch)
            change, o = rule.update(g, o, p)
            return (optax.apply_updates(p, change), s, o), value

        many = jax.jit(lambda carry, batches: jax.lax.scan(step, carry, batches), donate_argnums=0)
        x, y = map(jnp.asarray, arrays(case))
        params, stats = _start(case)
        carry, rng, key = (params, stats, rule.init(params)), np.random.default_rng(0), jax.random.key(0)

        def run(epochs: int) -> None:
            nonlocal carry, key
            for _ in range(epochs):
                for i in rng.permutation(len(x)).reshape(-1, k, case.batch):
                    key, some = jax.random.split(key)
                    carry, _ = many(carry, (x[i], y[i], jax.random.split(some, k)))
            jax.block_until_ready(carry)

        return run

    return Variant(f"JAX jit and scan, {k} a call", start)


# --- Keras ------------------------------------------------------------------------------------------------------------
def keras(case: Case, backend: str, k: int) -> Variant:
    """Keras on ``backend``, ``k`` steps per execution where the backend takes more than one."""
    if os.environ.setdefault("KERAS_BACKEND", backend) != backend:
        raise RuntimeError(f"this process runs Keras on {os.environ['KERAS_BACKEND']}")

    def model() -> Any:
        import keras as K

        L = K.layers
        block = lambda layer: [layer, L.BatchNormalization(momentum=0.9, epsilon=1e-5), L.ReLU()]  # noqa: E731
        body = {
            "a": lambda: [*block(L.Dense(512)), L.Dropout(0.5), *block(L.Dense(512)), L.Dropout(0.5), L.Dense(10)],
            "b": lambda: [
                *block(L.Conv2D(32, 3)), *block(L.Conv2D(64, 3)), L.MaxPooling2D(2), L.Flatten(), L.Dropout(0.25),
                L.Dense(128, activation="relu"), L.Dense(10),
            ],
            "c": lambda: [L.Dense(64, activation="relu"), L.Dense(64, activation="relu"), L.Dense(2)],
        }[case.name]()  # fmt: skip
        net = K.Sequential([K.Input(arrays(case)[0].shape[1:]), *body])
        nesterov = K.optimizers.SGD(case.rate, momentum=0.9, nesterov=True)
        rule = nesterov if case.optimizer == "nesterov" else K.optimizers.AdamW(case.rate, weight_decay=0.01)
        net.compile(rule, K.losses.SparseCategoricalCrossentropy(from_logits=True), steps_per_execution=k)
        return net

    def train(tick: Callable[[], None]) -> None:
        import keras as K

        net = model()
        x, y = arrays(case)
        every = K.callbacks.LambdaCallback(on_epoch_end=lambda *_: tick())
        net.fit(x, y, batch_size=case.batch, epochs=FOREVER, verbose=0, callbacks=[every])

    return Variant(
        f"Keras on {backend}" + (f", {k} steps per execution" if k > 1 else ""), lambda: Gate(train, case.threads).run
    )


def jax_variants(case: Case) -> list[Variant]:
    k = min(64, case.batches)
    return [_or_absent("JAX", lambda: jax_scan(case, k)), _or_absent("Keras on jax", lambda: keras(case, "jax", 8))]


def keras_torch(case: Case) -> list[Variant]:
    torch.set_num_threads(case.threads)
    return [_or_absent("Keras on torch", lambda: keras(case, "torch", 1))]


def _or_absent(name: str, make: Callable[[], Variant]) -> Variant:
    try:
        return make()
    except Exception as e:
        return absent(name, e)
