# %% [markdown]
# # A firm whose capital is dear to reverse
#
# Many firms produce Y = e^(x + z) k^alpha. Productivity z reverts to its mean, dz = -kappa z dt + sigma dW. Capital
# wears off, dk = (i - delta k) dt, and moving it costs theta i^2 / (2k), more where a firm would rather sell than buy:
#
#     r V = max over i of P Y - i - theta i^2 / (2k) + (i - delta k) V_k - kappa z V_z + sigma^2/2 V_zz,
#     theta(V_k) = theta_up + (theta_down - theta_up) / (1 + e^(steepness (V_k - 1))),    i* = k (V_k - 1) / theta.
#
# The density of firms does not move, and the price clears a demand of given elasticity, P = E[Y]^(-elasticity).
#
# The model is that of the notebook "Minimal stationary HJB-FP x PINN", whose published run diverges. This page says
# why, in numbers, and then solves it in three ways.
#
# Run it by `python examples/firm_irreversible.py [folder for figures] [--small]`. With `--small` grids and nets are
# smaller, prices are not looked for by nets, and numbers are less precise.

# %%
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import sympy
from scipy.optimize import brentq
from scipy.stats import spearmanr

import bellax as bx
from bellax.models import firm_hamiltonian
from bellax.models import firm_irreversible as firm

SMALL = "--small" in sys.argv
given = [word for word in sys.argv[1:] if not word.startswith("-") and "ipykernel" not in sys.argv[0]]
figures = Path(given[0] if given else os.environ.get("FIGURES") or tempfile.mkdtemp(prefix="firm_irreversible_"))
figures.mkdir(parents=True, exist_ok=True)


def kept(figure, name):
    figure.savefig(figures / f"{name}.png", dpi=120)
    plt.close(figure)


# %% [markdown]
# ## The best investment, by symbols
#
# With theta constant, i* = k (V_k - 1) / theta, and the maximised Hamiltonian is k (V_k - 1)^2 / (2 theta) less what
# wears off: a square in V_k.

# %%
k, theta = sympy.symbols("k theta", positive=True)
i, p, delta = sympy.symbols("i p delta", real=True)
flow = -i - theta * i**2 / (2 * k) + (i - delta * k) * p
(best,) = sympy.solve(sympy.diff(flow, i), i)
most = k * (p - 1) ** 2 / (2 * theta)
assert sympy.simplify(best - k * (p - 1) / theta) == 0 and sympy.diff(flow, i, 2).is_negative
assert sympy.simplify(flow.subs(i, best) + delta * k * p - most) == 0
print("i* =", best, "   maximised:", sympy.factor(most), "- delta k p")

# %% [markdown]
# ## The answer by finite differences, and what it is worth
#
# A monotone scheme, whose density is the exact transpose of its values. The certificate takes the residual between
# nodes, solves on coarser grids, and looks at the edges and at the mass.

# %%
nodes, across = (31, 21) if SMALL else (201, 121)
differences = bx.solvers.FiniteDifference(grid={"k": nodes, "z": across})
found = bx.equilibrium(firm.model, firm.params, **firm.equilibrium, solver=differences)
print(found)
print("E[i] / E[k] =", float(found.aggregates["investment"] / found.aggregates["capital"]), "and delta is .08")
print("mass:", float(jnp.sum(found.density.mass)))
if not SMALL:
    print("sd(z):", float(found.density.mean(lambda z: z**2)) ** 0.5)
    print(bx.certify(found.solution, points=300))
kept(bx.plot(found), "finite_differences")

# %% [markdown]
# V is smooth where firms are, and polynomials have it to ten digits. At the price of another code, collocation in plain
# numpy, the market clears by ours, too; that price is the yardstick below.

# %%
price = firm.reference(firm.params, 1.0, 0.0)["price"]
own = {name: value for name, value in firm.params.items() if name != "elasticity"} | {"price": price}
box = {"k": (0.9, None), "z": (-1.1, 1.1)}
polynomials = bx.solvers.Collocation(
    grid={"k": 12, "z": 8} if SMALL else {"k": 24, "z": 14}, bounds=box, accuracy=1e-2 if SMALL else 1e-4
)
exact = bx.solve(firm.model, own, polynomials)
if not SMALL:
    left = firm.clearing(price, float(bx.stationary(exact).mean("output")), firm.params["elasticity"])
    print(f"P = {price:.8f}, where polynomials leave {left:.1g} of the condition")
print(f"finite differences are {float(found.unknowns['price']) - price:.2g} off; they are of first order in k.")

# %% [markdown]
# ## Why the published run diverges
#
# *Samples on a diagonal.* k and z are drawn with the same random key. Their rank correlation is one: the equation is
# asked on a line alone, and nothing is known beside it.

# %%
key = jax.random.key(0)
same = [np.asarray(jax.random.uniform(key, (256,))) for _ in range(2)]
apart = [np.asarray(jax.random.uniform(each, (256,))) for each in jax.random.split(key)]
diagonal, independent = (float(spearmanr(*pair).statistic) for pair in (same, apart))
print(f"rank correlation of k and z: {diagonal:.3f} with one key, {independent:.3f} with two")

# %% [markdown]
# *Two branches.* The equation is quadratic in V_k: at every state another V_k solves it as well, given V and what z
# does. There firms disinvest, and capital leaves the domain. A residual does not tell the two apart; that states
# return does.


# %%
def value_of(solution):
    return lambda at: solution.value(k=at[0], z=at[1])


def investment(marginal, capital):
    one = firm.params
    theta = firm.irreversibility(marginal, one["theta_up"], one["theta_down"], one["steepness"])
    return firm.best_investment(capital, marginal, theta)


def hamiltonian(at, marginal):
    """What depends on V_k, and the reward."""
    one, (capital, z) = firm.params, at
    theta = firm.irreversibility(marginal, one["theta_up"], one["theta_down"], one["steepness"])
    i = firm.best_investment(capital, marginal, theta)
    flow = firm.profit(capital, firm.output(capital, z, one["alpha"], one["shifter"]), i, theta, price)
    return flow + (i - one["delta"] * capital) * marginal


def residual(solution):
    """Of the equation, relative to r V, at points of shape (n, 2); by automatic differentiation of V."""
    of, one = value_of(solution), firm.params

    def at(point):
        slope, bend = jax.grad(of)(point), jax.hessian(of)(point)
        moving = -one["kappa"] * point[1] * slope[1] + 0.5 * one["sigma"] ** 2 * bend[1, 1]
        return (hamiltonian(point, slope[0]) + moving) / (one["discount"] * of(point)) - 1

    return jax.jit(jax.vmap(at))


place = jnp.asarray([1.5, 0.0])
right = float(jax.grad(value_of(exact))(place)[0])
level = float(hamiltonian(place, right))
wrong = brentq(lambda marginal: float(hamiltonian(place, marginal)) - level, -20.0, 1.0)
for name, marginal in (("right", right), ("wrong", wrong)):
    moves = float(investment(marginal, place[0])) - firm.params["delta"] * float(place[0])
    height = float(hamiltonian(place, marginal))
    print(f"{name} branch at k = 1.5: V_k = {marginal:.4f}, H = {height:.6f}, dk/dt = {moves:.4f}")

# %% [markdown]
# *Not adjoint.* With theta(V_k) the derivative of the maximised Hamiltonian is not i*: values travel with one velocity
# and mass with another. The difference is no mistake of numerics; `firm_hamiltonian` has the other drift, and another
# price.

# %%
p, k = sympy.symbols("p k", positive=True)
up, down, steep = (firm.params[name] for name in ("theta_up", "theta_down", "steepness"))
moved_theta = up + (down - up) / (1 + sympy.exp(steep * (p - 1)))
gap = sympy.lambdify((p, k), sympy.diff(k * (p - 1) ** 2 / (2 * moved_theta), p) - k * (p - 1) / moved_theta)
for marginal in (0.8, 1.0, 1.2):
    other = firm_hamiltonian.best_investment(2.0, marginal, up, down, steep)
    print(f"V_k = {marginal}, k = 2: i* = {float(investment(marginal, 2.0)):.4f}, H_p = {float(other):.4f}")
    assert abs(float(other) - float(investment(marginal, 2.0)) - gap(marginal, 2.0)) < 1e-12

# %% [markdown]
# *Residuals alone.* `PINN.notebook` is the recipe of the notebook: residuals, penalties, Adam, one key. What it
# ends with is refused, and why is more than a residual shows.

# %%
recipe = bx.solvers.PINN.notebook(steps=50 if SMALL else 1000, batch=64 if SMALL else 256)
if SMALL:
    recipe = replace(recipe, hidden=(6,), points=64)
published = bx.solve(firm.model, own, recipe, throw=False)
print(published.result, {name: round(float(value), 4) for name, value in published.stats.items() if float(value) != 0})
print(published.setting.explain(published))
there = {"k": 2.0, "z": 0.0}
print(f"V(2, 0): {float(published.value(**there)):.3f}, and by polynomials {float(exact.value(**there)):.3f}")

# %% [markdown]
# ## Nets that find it
#
# `PINN()` scales inputs to where firms are, draws independent points, selects the branch by Howard's iteration and
# finishes by least squares. The price is found as with every other solver, means being those of the Poisson equation.

# %%
if SMALL:
    nets = bx.solvers.PINN(hidden=(6,), points=96, rounds=4, density=False, tolerance=0.1)
    trained = bx.solve(firm.model, own, nets)
else:
    clear = bx.equilibrium(firm.model, firm.params, **firm.equilibrium, solver=bx.solvers.PINN(), tolerance=1e-5)
    trained = clear.solution
    print(clear)
    print(f"price by nets: {float(clear.unknowns['price']) - price:.2g} off; by path {np.asarray(clear.path['price'])}")

# %% [markdown]
# Residuals of both over the core, and how far V is apart.

# %%
core = {name: np.asarray(values) for name, values in trained.nodes().items()}
thin = [np.linspace(max(core["k"][0], 0.95), core["k"][-1], 41), np.linspace(core["z"][0], core["z"][-1], 31)]
laid = np.meshgrid(*thin, indexing="ij")
points = jnp.stack([jnp.asarray(each.ravel()) for each in laid], axis=-1)
values = [np.asarray(each.value(k=laid[0], z=laid[1])) for each in (trained, exact)]
maps = {
    "residual of nets / r V": np.asarray(residual(trained)(points)).reshape(laid[0].shape),
    "residual of polynomials / r V": np.asarray(residual(exact)(points)).reshape(laid[0].shape),
    "V of nets, relative": values[0] / values[1] - 1,
}
figure, axes = plt.subplots(1, 3, figsize=(15, 4), layout="constrained")
for axis, (name, shown) in zip(axes, maps.items(), strict=True):
    drawn = axis.pcolormesh(*thin, np.log10(np.abs(shown.T) + 1e-12), shading="gouraud")
    figure.colorbar(drawn, ax=axis, label="log10")
    axis.set(title=name, xlabel="k", ylabel="z")
    print(f"{name}: largest {np.nanmax(np.abs(shown)):.2g}, median {np.nanmedian(np.abs(shown)):.2g}")
kept(figure, "residuals")

# %% [markdown]
# ## Where firms are, and how the price was found

# %%
figure, (left, right_axis) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
for name, density in {"finite differences": found.density, **({} if SMALL else {"nets": clear.density})}.items():
    at, mass = (np.asarray(each) for each in density.marginal("k"))
    left.plot(at, mass / np.gradient(at), label=name)
left.set(title="density of capital", xlabel="k")
left.legend()
for name, each in {"finite differences": found, **({} if SMALL else {"nets": clear})}.items():
    off = np.abs(np.asarray(each.path["price"]) - price)
    right_axis.semilogy(np.arange(1, off.size + 1), np.maximum(off, 1e-16), "o-", label=name)
right_axis.set(title="distance of the price from the yardstick", xlabel="solves")
right_axis.legend()
kept(figure, "density_and_price")
print("figures are in", figures)
