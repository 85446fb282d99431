"""Outside the grid: told or refused where it is silent elsewhere, NaN where that was asked for, counted in a panel."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx


def drifting(**slots):
    """x grows by half a unit a period from [0, 1 + period / 4], and nothing can be done; V is x and what follows."""
    base = dict(
        states={"x": bx.Continuous(0.0, lambda period, top: top + 0.25 * period)},
        transitions={"x": lambda x: x + 0.5},
        reward=lambda x: x,
        discount=0.5,
        horizon=3,
    )
    return bx.Model(**{**base, **slots})


def solver(outside=None):
    return bx.solvers.BackwardInduction(grid={"x": 5}, interpolant=bx.interpolants.Linear(), outside=outside)


PARAMS = {"top": 1.0}


@pytest.fixture(scope="module")
def model():
    return drifting()


@pytest.fixture(scope="module")
def silent(model):
    return bx.solve(model, PARAMS, solver(bx.outside.Extrapolate()))


@pytest.fixture(scope="module")
def hidden(model):
    return bx.solve(model, PARAMS, solver(bx.outside.Nan()))


@pytest.fixture
def plain(model):
    return bx.solve(model, PARAMS, solver())


class TestQueries:
    def test_warn_once_a_solution_and_say_which_state_and_where(self, plain):
        with pytest.warns(bx.OutsideWarning, match=r"state 'x' is 1e\+06, outside its grid from 0 to 1.25.*Nan"):
            plain.value(period=1, x=[0.3, 1e6, -3.0])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            plain.value(period=1, x=1e6)
            plain.policy(period=1, x=-1.0)

    def test_a_policy_warns_too_and_so_does_a_table(self, model):
        with pytest.warns(bx.OutsideWarning, match="'x' is -0.1"):
            bx.solve(model, PARAMS, solver()).policy(period=0, x=-0.1)
        with pytest.warns(bx.OutsideWarning, match="'x' is 1.1"):
            bx.solve(model, PARAMS, solver()).tabulate().policy(period=0, x=1.1)

    def test_the_bounds_are_those_of_the_period(self, plain):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            plain.value(period=0, x=[0.0, 1.0, 1.0 + 1e-12, -1e-12])
            plain.value(period=2, x=1.5)
        with pytest.warns(bx.OutsideWarning, match="from 0 to 1.25"):
            plain.value(period=1, x=1.5)

    def test_extrapolation_by_name_is_silent(self, silent):
        assert silent.value(period=2, x=9.0) == pytest.approx(9.0)  # exact: V is linear

    def test_nothing_is_said_under_a_transformation(self, plain):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert jax.jit(lambda x: plain.value(period=2, x=x))(9.0) == pytest.approx(9.0)

    def test_nan_outside_and_the_same_inside(self, hidden, silent):
        x = np.array([-0.5, 0.0, 0.7, 1.0, 1.2])
        found = hidden.value(period=0, x=x)
        np.testing.assert_array_equal(np.isnan(found), [True, False, False, False, True])
        np.testing.assert_allclose(found[1:4], silent.value(period=0, x=x[1:4]))
        np.testing.assert_array_equal(jax.jit(lambda x: hidden.value(period=0, x=x))(x), found)
        np.testing.assert_array_equal(np.isnan(hidden.choice_values(period=0, x=x)[:, 0]), np.isnan(found))


def test_actions_are_nan_outside():
    m = drifting(actions={"a": bx.Continuous(0.0, 1.0)}, reward=lambda x, a: x - (a - 0.5) ** 2)
    found = bx.solve(m, PARAMS, solver(bx.outside.Nan()))
    np.testing.assert_array_equal(np.isnan(found.policy(period=0, x=[0.5, 1.5])["a"]), [False, True])
    table = found.tabulate()
    np.testing.assert_array_equal(np.isnan(table.policy(period=0, x=[0.5, 1.5])["a"]), [False, True])


class TestSimulation:
    def test_a_start_outside_is_refused_unless_extrapolation_was_asked_for(self, plain, hidden, silent):
        for solution in (plain, hidden):
            with pytest.raises(
                bx.ParameterError, match="start: state 'x' is 500, outside its grid from 0 to 1.*Extrap"
            ):
                bx.simulate(solution, start={"x": [0.5, 500.0]})
        assert bx.simulate(silent, start={"x": [0.5, 500.0]}).states["x"][1, 0] == 500

    def test_who_left_is_counted_by_state_side_and_period(self, silent):
        """Bounds of periods 0 to 3 end at 1, 1.25, 1.5 and 1.75; the paths are x, x + .5, x + 1, x + 1.5."""
        panel = bx.simulate(silent, start={"x": [-0.25, 0.5, 0.9, 2.0]})
        np.testing.assert_array_equal(panel.outside["x"]["below"], [1, 0, 0, 0])
        np.testing.assert_array_equal(panel.outside["x"]["above"], [1, 2, 2, 3])
        assert str(panel) == (
            "Panel of 4 agents over 3 periods. 'x' was below its grid 1 times, first in period 0. "
            "'x' was above its grid 8 times, first in period 0."
        )
        shorter = bx.simulate(silent, start={"x": [-0.25, 0.5, 0.9, 2.0]}, periods=1)
        np.testing.assert_array_equal(shorter.outside["x"]["above"], [1, 2])

    def test_a_path_is_nan_from_where_it_leaves(self, hidden, silent):
        kept, lost = (bx.simulate(s, start={"x": [0.1, 0.9]}) for s in (silent, hidden))
        np.testing.assert_array_equal(np.isnan(lost.reward), [[False, False, False], [False, True, True]])
        np.testing.assert_array_equal(np.isnan(lost.value), np.isnan(lost.reward))
        np.testing.assert_allclose(lost.reward[0], kept.reward[0])
        np.testing.assert_array_equal(lost.outside["x"]["above"], [0, 1, 0, 0])

    def test_those_who_stopped_are_not_outside(self):
        m = drifting(stop=lambda x: 100.0)
        panel = bx.simulate(bx.solve(m, PARAMS, solver()), start={"x": [0.9, 0.1]})
        assert bool(panel.actions["stop"][:, 0].all())
        assert not any(counts.any() for counts in panel.outside["x"].values())


@pytest.fixture(scope="module")
def wandering():
    return bx.Model(
        states={"z": bx.AR1(rho=0.6, sigma=0.1, mean=1.0), "v": bx.Continuous(-1.0, 1.0, shape=(2,))},
        transitions={"v": bx.fixed},
        reward=lambda z, v: z + v[0] * v[1],
        discount=0.9,
        horizon=2,
    )


class TestProcesses:
    """An AR1 of mean 1 and unconditional deviation .1 / .8 = .125, on 3 nodes: 1, and sqrt(2) deviations off."""

    END = 0.125 * 2**0.5

    @pytest.fixture
    def solution(self, wandering):
        options = {"grid": {"z": 3, "v": 3}, "interpolant": bx.interpolants.Linear()}
        return bx.solve(wandering, {}, bx.solvers.BackwardInduction(**options))

    def test_fifty_units_out(self, solution):
        solution.value(period=0, z=1 + 4.9 * self.END, v=[0.0, 0.0])  # a path might come there
        with pytest.warns(bx.OutsideWarning, match="state 'z' is 51, outside its nodes from 0.823223 to 1.17678"):
            solution.value(period=0, z=51.0, v=[0.0, 0.0])
        with pytest.raises(bx.ParameterError, match="start: state 'z' is 51, outside its nodes"):
            bx.simulate(solution, 4, {"z": 51.0, "v": [0.0, 0.0]})

    def test_a_number_of_a_vector_is_named(self, solution):
        with pytest.warns(bx.OutsideWarning, match=r"state 'v\[1\]' is 1.5, outside its grid from -1 to 1"):
            solution.value(period=0, z=1.0, v=[0.0, 1.5])

    def test_what_is_beyond_the_nodes_is_counted(self, solution):
        panel = bx.simulate(solution, 1000, {"v": [0.0, 0.0]})
        path = np.concatenate([panel.states["z"], panel.final["z"][:, None]], axis=1)
        np.testing.assert_array_equal(panel.outside["z"]["above"], (path > 1 + self.END).sum(axis=0))
        np.testing.assert_array_equal(panel.outside["z"]["below"], (path < 1 - self.END).sum(axis=0))
        assert panel.outside["z"]["above"].min() > 40  # of a normal 7.9 % lie above
        assert list(panel.outside) == ["v[0]", "v[1]", "z"]
        assert "'z' was above its nodes" in str(panel)


@pytest.mark.parametrize(("scale", "less"), [(bx.scales.log, 0.9e-8), (bx.scales.asinh(1.0), -1e-8)])
def test_ends_on_a_curved_scale_are_inside_and_what_is_past_them_is_not(scale, less):
    m = drifting(states={"x": bx.Continuous(1e-8, 1e6, scale=scale)}, transitions={"x": bx.fixed})
    found = bx.solve(m, {}, solver(bx.outside.Nan()))
    x = np.array([1e-8, 1e6, less, 1.001e6])
    np.testing.assert_array_equal(np.isnan(found.value(period=0, x=x)), [False, False, True, True])


def test_a_certificate_asks_everywhere_and_does_not_warn(plain):
    """Half of the way is lost a period: of ten paths from .9 on, all are above from the first step on."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        certificate = bx.certify(plain, points=20, agents=10, start={"x": 0.9})
    assert certificate.escape["path"]["x"] == {"below": 0.0, "above": 1.0}


@pytest.mark.parametrize("outside", [None, bx.outside.Extrapolate(), bx.outside.Nan()])
def test_it_survives_a_file(tmp_path, model, outside):
    solution = bx.solve(model, PARAMS, solver(outside))
    solution.save(tmp_path / "s.nc")
    assert bx.load(tmp_path / "s.nc", model).setting.options.outside == outside


def test_what_is_no_option(monkeypatch):
    with pytest.raises(Exception, match="outside"):
        solver("nan")


def test_a_simulated_moment_still_has_its_derivative(silent, model):
    """x moves with nothing but its start: the mean of x in period 2 has slope one in it."""
    moment = lambda start: jnp.mean(bx.simulate(silent, 4, {"x": start}).states["x"][:, 2])  # noqa: E731
    assert jax.grad(moment)(0.3) == pytest.approx(1.0)
