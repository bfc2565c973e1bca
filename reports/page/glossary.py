"""The technical words of the pages: what each means, its formula, and where it comes from.

Text leads here by `[[slug|shown text]]`; in running text the first of a term's `words` in a section leads here by itself.
A page ends with the terms that it uses, and those that their definitions use.
"""

from __future__ import annotations

from reports.page.glossary_series import SERIES
from reports.page.term import Term

BISHOP = "Bishop 2006, Pattern Recognition and Machine Learning"
PSIS = "Vehtari, Simpson, Gelman, Yao & Gabry 2024, Journal of Machine Learning Research 25"
LOO = "Vehtari, Gelman & Gabry 2017, Statistics and Computing 27"
RHAT = "Vehtari, Gelman, Simpson, Carpenter & Bürkner 2021, Bayesian Analysis 16"
LATENT_GOLD = "Vermunt & Magidson 2016, Technical Guide for Latent GOLD 5.1"
CONCEPTUAL = "Betancourt 2017, A Conceptual Introduction to Hamiltonian Monte Carlo"

_TERMS = (
    # Models and priors
    Term(
        "mixture",
        "Gaussian mixture",
        "A density that is a weighted sum of K Gaussian densities, one a cluster. A point comes from cluster k with "
        "probability π<sub>k</sub>, its weight.",
        "p(x) = Σ<sub>k</sub> π<sub>k</sub> N(x | μ<sub>k</sub>, Σ<sub>k</sub>)",
        f"{BISHOP}, section 9.2",
        ("Gaussian mixture", "Gaussian mixtures"),
    ),
    Term(
        "latent-classes",
        "latent class analysis",
        "A mixture whose clusters, the classes, have a probability for every level of every feature, features being "
        "independent within a class.",
        "p(x) = Σ<sub>k</sub> π<sub>k</sub> Π<sub>d</sub> μ<sub>kd</sub>(x<sub>d</sub>)",
        "Goodman 1974, Biometrika 61",
        ("latent class analysis", "latent classes"),
    ),
    Term(
        "poisson-mixture",
        "Poisson mixture",
        "A mixture for counts: in cluster k a count has a Poisson distribution whose mean is the cluster's rate.",
        "p(x) = Σ<sub>k</sub> π<sub>k</sub> Π<sub>d</sub> Poisson(x<sub>d</sub> | λ<sub>kd</sub>)",
        "Gelman et al. 2013, Bayesian Data Analysis, section 2.6",
        ("Poisson mixture", "Poisson mixtures"),
    ),
    Term(
        "pseudo-observations",
        "pseudo-observations",
        "A conjugate prior of probabilities or rates says as much as so many observations made before the data; the more "
        "there are, the stronger it is.",
        "",
        f"{BISHOP}, section 2.1.1",
        ("pseudo-observations",),
    ),
    Term(
        "prior",
        "prior",
        "Distribution of the parameters before the data are seen. Where a mixture is given none, a weak one is computed "
        "from the data: of numbers centred at their mean, with a scale that follows their covariance and K (Fraley & Raftery "
        "2007); of probabilities flat but for an observation of all clusters together, spread as the data (Clogg et "
        "al. 1991); of rates exponential with the mean of the data (Jaynes 1968).",
        "",
        "Fraley & Raftery 2007, Journal of Classification 24",
    ),
    Term(
        "posterior",
        "posterior",
        "Distribution of the parameters given the data: the [[prior]] times the likelihood, over the [[evidence]].",
        "p(θ | x) = p(x | θ) p(θ) / p(x)",
        f"{BISHOP}, section 1.2",
    ),
    Term(
        "dirichlet",
        "Dirichlet distribution",
        "The [[prior]] of the weights. Its concentration α0 says how even they are expected to be: below 1 some are "
        "expected near zero, above 1 all are expected to be alike.",
        "p(π) ∝ Π<sub>k</sub> π<sub>k</sub><sup>α0 − 1</sup>",
        f"{BISHOP}, section 2.2.1",
        ("Dirichlet",),
    ),
    Term(
        "wishart",
        "Wishart distribution",
        "The [[prior]] of a cluster's precision matrix Λ, the inverse of its covariance. ν0 counts how many points it "
        "is worth; with few of them a covariance has no variance, or not even a mean, in the posterior of an empty "
        "cluster.",
        "E[Λ] = ν0 W0",
        f"{BISHOP}, section 2.3.6; Wishart 1928, Biometrika 20A",
        ("Wishart",),
    ),
    Term(
        "responsibilities",
        "responsibilities",
        "Probabilities that a point belongs to each cluster; they add up to one.",
        "r<sub>nk</sub> = π<sub>k</sub> p(x<sub>n</sub> | θ<sub>k</sub>) / Σ<sub>j</sub> π<sub>j</sub> p(x<sub>n</sub> | "
        "θ<sub>j</sub>), with θ<sub>k</sub> the parameters of cluster k",
        f"{BISHOP}, section 9.2",
        ("responsibilities",),
    ),
    Term(
        "uncertainty",
        "classification uncertainty",
        "How far the largest of a point's [[responsibilities]] is from one: 0 is certain.",
        "1 − max<sub>k</sub> r<sub>nk</sub>",
        "Fraley & Raftery 2002, Journal of the American Statistical Association 97",
        ("classification uncertainty",),
    ),
    Term(
        "occupied",
        "occupied clusters",
        "Clusters that at least one point belongs to. With clusters to spare, a posterior empties them where the "
        "concentration of the [[dirichlet|Dirichlet]] prior is below half the number of free parameters of a cluster, "
        "as the data grow.",
        "",
        "Rousseau & Mengersen 2011, Journal of the Royal Statistical Society B 73",
        ("occupied clusters",),
    ),
    Term(
        "collapse",
        "collapse",
        "A cluster shrinks onto a few points and its variance towards zero: the likelihood of a mixture has no "
        "maximum there.",
        "",
        "Day 1969, Biometrika 56",
    ),
    # Methods
    Term(
        "em",
        "EM",
        "Expectation-maximisation: alternates [[responsibilities]] and the parameters that fit them best, and climbs "
        "to a local maximum of the likelihood. It gives a [[point-estimate|point]] and has no prior.",
        "",
        "Dempster, Laird & Rubin 1977, Journal of the Royal Statistical Society B 39",
        ("EM",),
    ),
    Term(
        "map",
        "MAP-EM",
        "[[em|EM]] that climbs likelihood times [[prior]], to a maximum a posteriori (MAP) estimate. It cannot "
        "[[collapse]], and gives a [[point-estimate|point]].",
        "",
        "Fraley & Raftery 2007, Journal of Classification 24",
        ("MAP-EM",),
    ),
    Term(
        "point-estimate",
        "point estimate",
        "One value for each parameter, without a statement of its uncertainty. It has no intervals, and none are "
        "shown for it.",
        "",
        "",
        ("point estimate", "point estimates"),
    ),
    Term(
        "variational",
        "variational posterior",
        "The member q of a family of simple distributions that is closest to the posterior: the one with the highest "
        "[[elbo]]. It is fast, and often too narrow.",
        "q = argmin KL(q ‖ p(θ | x))",
        "Blei, Kucukelbir & McAuliffe 2017, Journal of the American Statistical Association 112",
        ("variational posterior", "variational posteriors"),
    ),
    Term(
        "mean-field",
        "mean field",
        "A [[variational]] q that is a product: its factors are independent of each other. What is correlated in the "
        "posterior is not in q, whose margins are therefore too narrow.",
        "q(θ) = Π<sub>i</sub> q<sub>i</sub>(θ<sub>i</sub>)",
        f"{BISHOP}, section 10.1",
        ("mean field", "mean-field"),
    ),
    Term(
        "cavi",
        "CAVI",
        "Coordinate-ascent variational inference: updates one factor of a [[mean-field]] q after the other, each in "
        "closed form, so that the [[elbo]] never falls. Here q(z, π, θ) = q(z) q(π) Π<sub>k</sub> q(θ<sub>k</sub>), where "
        "θ<sub>k</sub> are the parameters of cluster k: of a Gaussian one μ<sub>k</sub> and Λ<sub>k</sub> together.",
        "",
        f"{BISHOP}, section 10.2",
        ("CAVI",),
    ),
    Term(
        "qz",
        "q(z)",
        "The factor of [[cavi|CAVI]]'s q that holds the clusters of the points. It takes expected logarithms of the "
        "parameters and is more certain than the [[responsibilities]] averaged over draws of them.",
        "log q(z<sub>n</sub> = k) = E[log π<sub>k</sub>] + E[log p(x<sub>n</sub> | θ<sub>k</sub>)] + const",
        f"{BISHOP}, equation 10.46",
        ("q(z)",),
    ),
    Term(
        "advi",
        "ADVI",
        "Automatic differentiation variational inference: a Gaussian q in unconstrained coordinates, fitted by "
        "stochastic gradients of the [[elbo]]. The plain one is [[mean-field|mean field]]; full rank has correlations.",
        "",
        "Kucukelbir, Tran, Ranganath, Gelman & Blei 2017, Journal of Machine Learning Research 18",
        ("ADVI",),
    ),
    Term(
        "mcmc",
        "MCMC",
        "Markov chain Monte Carlo: a random walk whose draws have the posterior as their distribution in the long "
        "run. How well a finite one has done so is what [[rhat]] and [[ess]] tell.",
        "",
        "Robert & Casella 2004, Monte Carlo Statistical Methods",
        ("MCMC",),
    ),
    Term(
        "gibbs",
        "Gibbs sampling",
        "[[mcmc|MCMC]] that draws the clusters of all points given the parameters, and the parameters given the "
        "clusters, in turn.",
        "",
        "Diebolt & Robert 1994, Journal of the Royal Statistical Society B 56",
        ("Gibbs",),
    ),
    Term(
        "nuts",
        "NUTS",
        "No-U-Turn sampler: [[mcmc|MCMC]] that follows the gradient of the posterior's log density along a path, "
        "which ends when it turns back.",
        "",
        "Hoffman & Gelman 2014, Journal of Machine Learning Research 15",
        ("NUTS",),
    ),
    Term(
        "exact",
        "exact posterior",
        "The posterior itself, without approximation. Of a mixture by a sum over every way to put the points into clusters, "
        "each of which has a conjugate posterior in closed form: affordable for few points.",
        "p(θ | x) = Σ<sub>z</sub> p(z | x) p(θ | x, z)",
        "",
        ("exact posterior", "exact sum"),
    ),
    Term(
        "smc",
        "SMC",
        "Sequential Monte Carlo: particles are led from the prior to the posterior by raising the likelihood's power "
        "from 0 to 1. It gives an estimate of the [[evidence]] too.",
        "",
        "Del Moral, Doucet & Jasra 2006, Journal of the Royal Statistical Society B 68",
        ("SMC",),
    ),
    Term(
        "oracle",
        "oracle",
        "The density, or the responsibilities, under the true parameters, which no method knows. A better score than "
        "the oracle's is chance.",
    ),
    Term(
        "plug-in",
        "plug-in",
        "The density at one value of the parameters, such as the posterior mean, in the place of the average over the "
        "posterior.",
        "p(x* | E[θ])  instead of  E[p(x* | θ)]",
        "",
        ("plug-in",),
    ),
    Term(
        "bootstrap",
        "parametric bootstrap",
        "Data are simulated from the fit many times and fitted again; the spread of these fits stands for the "
        "uncertainty of the first.",
        "",
        "Efron & Tibshirani 1993, An Introduction to the Bootstrap",
        ("parametric bootstrap", "bootstrap"),
    ),
    # The reference and its checks
    Term(
        "reference",
        "reference",
        "The method that the others are measured against: the [[exact|exact posterior]] where it is affordable, else "
        "the [[mcmc|MCMC]] run that passed its checks. It is trusted only if it passed them all.",
    ),
    Term(
        "rhat",
        "R-hat",
        "Compares the spread of all chains together with that within each, for ranks and for distances from the "
        "median. Near 1 the chains agree; from 1.01 on they do not.",
        "R̂ = √(var<sup>+</sup> / W), with W the mean variance within chains",
        RHAT,
        ("R-hat",),
    ),
    Term(
        "ess",
        "effective sample size (ESS)",
        "How many independent draws would estimate as well as these correlated ones. Bulk ESS is about the middle of "
        "the distribution, tail ESS about its 5% and 95% quantiles.",
        "ESS = S / (1 + 2 Σ<sub>t</sub> ρ<sub>t</sub>), for S draws with autocorrelations ρ<sub>t</sub>",
        RHAT,
        ("effective sample size", "effective draws", "bulk ESS", "tail ESS", "ESS"),
    ),
    Term(
        "mcse",
        "Monte Carlo error (MCSE)",
        "Standard error of an estimate that comes from a finite number of draws alone; four times as many independent "
        "draws halve it.",
        "MCSE of a mean = sd / √ESS",
        RHAT,
        ("MCSE", "Monte Carlo error", "Monte Carlo errors"),
    ),
    Term(
        "divergence",
        "divergent transition",
        "A path of [[nuts|NUTS]] along which the energy, which should be kept, ran away: the posterior bends too "
        "sharply there for the step size, and draws near it may be missing.",
        "",
        CONCEPTUAL,
        ("divergent transition", "divergent transitions", "divergences"),
    ),
    Term(
        "ebfmi",
        "E-BFMI",
        "Estimated Bayesian fraction of missing information: how far one step of [[nuts|NUTS]] moves in energy, "
        "against the spread of energies. Below 0.3 a chain explores the tails too slowly.",
        "Σ<sub>n</sub> (E<sub>n</sub> − E<sub>n−1</sub>)<sup>2</sup> / Σ<sub>n</sub> (E<sub>n</sub> − Ē)<sup>2</sup>",
        "Betancourt 2016, Diagnosing Suboptimal Cotangent Disintegrations in Hamiltonian Monte Carlo",
        ("E-BFMI",),
    ),
    Term(
        "tree-depth",
        "tree depth",
        "A path of [[nuts|NUTS]] has up to 2<sup>depth</sup> − 1 steps. A saturated one reached the greatest depth "
        "allowed before it turned back: no error, but slow.",
        "",
        "Hoffman & Gelman 2014, Journal of Machine Learning Research 15",
        ("tree depth", "tree depths"),
    ),
    Term(
        "metric",
        "metric of NUTS",
        "The covariance by which [[nuts|NUTS]] scales and turns its steps. The warm-up learns it, starting from the identity "
        "or, and then in a third of the steps, from CAVI's posterior. Draws are exact with any metric: a poor one makes them "
        "slow, no more.",
        "",
        "Neal 2011, Handbook of Markov Chain Monte Carlo, section 5.4.2.4",
        ("metric of NUTS", "metric from CAVI's posterior", "metric from the identity"),
    ),
    Term(
        "energy",
        "energy plot",
        "Distribution of the energies that [[nuts|NUTS]] visits beside that of their changes from step to step. They "
        "should be alike; changes much narrower than the energies give a low [[ebfmi]].",
        "",
        CONCEPTUAL,
        ("energy plot", "energies"),
    ),
    Term(
        "rank-plot",
        "rank plot",
        "All draws of a parameter are ranked together; each chain's ranks should be uniform. Drawn here is the "
        "distribution function of a chain's ranks less that of uniform ones.",
        "",
        RHAT,
        ("rank plot", "rank plots"),
    ),
    Term(
        "tail-khat",
        "tail index of draws",
        "[[khat]] of the draws themselves, from their largest and smallest values. From 0.5 on the quantity has no "
        "variance, from 1 on no mean, and sample versions of these mean nothing.",
        "",
        PSIS,
        ("tail index",),
    ),
    # Labels and modes
    Term(
        "label-switching",
        "label switching",
        "The numbers of the clusters are arbitrary: exchanging them changes no density. A posterior therefore has K! "
        "mirror images, among which a chain may jump.",
        "",
        "Stephens 2000, Journal of the Royal Statistical Society B 62",
        ("label switching", "switch labels", "switched labels"),
    ),
    Term(
        "relabelling",
        "relabelling",
        "Bringing all draws to one numbering of the clusters: each draw's [[responsibilities]] are matched to those "
        "of a pivot by an assignment problem.",
        "",
        "Papastamoulis & Iliopoulos 2010, Journal of Computational and Graphical Statistics 19; Kuhn 1955",
        ("relabelling",),
    ),
    Term(
        "stephens",
        "Stephens' relabelling",
        "[[relabelling|Relabelling]] without a pivot: numbers are exchanged until the draws' [[responsibilities]] are "
        "as close as possible to their mean, by the [[kl|KL divergence]].",
        "",
        "Stephens 2000, Journal of the Royal Statistical Society B 62",
        ("Stephens' relabelling", "Stephens"),
    ),
    Term(
        "mode",
        "mode",
        "A peak of the posterior, its mirror images counted as one. Two modes are two different clusterings of the "
        "data; a method that stays in one does not know of the other.",
    ),
    Term(
        "co-clustering",
        "co-clustering matrix",
        "For each pair of points the probability that both are in one cluster, averaged over draws. It does not "
        "depend on how clusters are numbered. The error of a method is its mean absolute difference from the "
        "reference's.",
        "c<sub>nm</sub> = E[Σ<sub>k</sub> r<sub>nk</sub> r<sub>mk</sub>]",
        "Fritsch & Ickstadt 2009, Bayesian Analysis 4",
        ("co-clustering",),
    ),
    # Agreement
    Term(
        "median-shift",
        "median shift",
        "How far a method's median lies from the reference's, in units of the reference's spread, which is its "
        "interquartile range over 1.349: the sd of a Gaussian with that range. Unlike an sd it exists however heavy "
        "the tails.",
        "(median − median<sub>ref</sub>) / (IQR<sub>ref</sub> / 1.349)",
        "",
        ("median shift", "median shifts"),
    ),
    Term(
        "iqr",
        "interquartile range (IQR)",
        "Distance between the 25% and 75% quantiles. Over 1.349 it is the sd of a Gaussian, and unlike a sample sd it is "
        "little affected by the tails.",
        "IQR = q<sub>75%</sub> − q<sub>25%</sub>",
        "",
        ("IQR", "interquartile range"),
    ),
    Term(
        "width-ratio",
        "width ratio",
        "Width of a method's central 90% interval over that of the reference's. Below 1 the method claims more "
        "certainty than the reference.",
        "(q<sub>95%</sub> − q<sub>5%</sub>) / (q<sub>95%</sub> − q<sub>5%</sub>)<sub>ref</sub>",
        "",
        ("width ratio", "width ratios"),
    ),
    Term(
        "coverage",
        "coverage under the reference",
        "Probability, under the reference, of a method's central 95% interval; 95% is right. It says how much of one "
        "posterior another one's interval holds, not how often intervals hold a true value in repeated data.",
        "P<sub>ref</sub>(low < θ < high)",
    ),
    Term(
        "frequentist-coverage",
        "coverage of the truth",
        "Share of simulated data sets in which a 95% interval holds the value that made the data. Below 95% the "
        "intervals are too short: the method is overconfident.",
    ),
    Term(
        "wasserstein",
        "Wasserstein-1 distance",
        "How far probability has to be moved, on average, to turn one distribution into the other; here in units of "
        "the reference's interquartile range over 1.349. Beside it stands the distance of two halves of the "
        "reference, which is [[mcse|Monte Carlo error]] alone.",
        "∫ |F(t) − F<sub>ref</sub>(t)| dt",
        "Villani 2009, Optimal Transport: Old and New",
        ("Wasserstein-1", "Wasserstein distance"),
    ),
    Term(
        "scale",
        "scales of parameters",
        "Variances are compared as logarithms, correlations by Fisher's z and weights as log odds, where means "
        "exist and differences mean the same everywhere.",
        "z = ½ log((1 + ρ) / (1 − ρ))",
        "Fisher 1921, Metron 1",
        ("Fisher z", "Fisher's z"),
    ),
    Term(
        "rank-correlation",
        "rank correlation",
        "Correlation of the ranks of two parameters' draws (Spearman). It exists whatever the tails, and lies between "
        "−1 and 1.",
        "",
        "Spearman 1904, American Journal of Psychology 15",
        ("rank correlation", "rank correlations"),
    ),
    Term(
        "hdr",
        "highest-density region",
        "The smallest region that holds the stated probability: where the density is above some level. It need not be "
        "an ellipse, nor in one piece.",
        "",
        "Hyndman 1996, The American Statistician 50",
        ("highest-density region", "highest-density regions", "highest density"),
    ),
    Term(
        "total-variation",
        "total variation distance",
        "Half the area between two densities: the largest difference between the probabilities that they give to any "
        "event. 0 is equal, 1 is disjoint. Estimated from points of both densities together.",
        "½ ∫ |p − q| = E<sub>(p + q)/2</sub>[|p − q| / (p + q)]",
        "",
        ("total variation",),
    ),
    Term(
        "kl",
        "KL divergence",
        "Kullback-Leibler divergence: expected difference of the log densities, in [[nats]]. It is zero only for "
        "equal densities.",
        "KL(q ‖ p) = E<sub>q</sub>[log q − log p]",
        "Kullback & Leibler 1951, Annals of Mathematical Statistics 22",
        ("KL",),
    ),
    Term(
        "predictive",
        "predictive density",
        "Density of a new point, averaged over the posterior.",
        "p(x* | x) = E[p(x* | θ)]",
        "",
        ("predictive density", "predictive densities", "posterior predictive"),
    ),
    Term(
        "two-sample",
        "classifier two-sample test",
        "A classifier learns to tell a method's draws from the reference's, all parameters at once; how often it is "
        "right on others says how different they are. One half is chance.",
        "",
        "Lopez-Paz & Oquab 2017, International Conference on Learning Representations",
    ),
    Term(
        "verdict",
        "agrees, differs, cannot tell",
        "Agrees: for every parameter the value with its [[mcse|Monte Carlo error]] lies within the limits. Differs: "
        "for some parameter it lies wholly outside, allowing for how many were looked at ([[bonferroni|Bonferroni]]). "
        "Otherwise the draws cannot tell.",
        "",
        "Berger 1982, Technometrics 24 (agreement in all as an intersection-union test)",
    ),
    Term(
        "bonferroni",
        "Bonferroni correction",
        "Of many comparisons the worst looks bad by chance. Each is therefore held to a probability of error smaller "
        "by their number.",
        "α / m for each of m comparisons",
        "Dunn 1961, Journal of the American Statistical Association 56",
        ("Bonferroni",),
    ),
    Term(
        "prior-sensitivity",
        "power-scaling prior sensitivity",
        "How much the posterior changes when the [[prior]], or the likelihood, is raised to a power a little off 1, "
        "found by [[psis|importance sampling]] from the draws at hand.",
        "p(θ | x, a) ∝ p(x | θ) p(θ)<sup>a</sup>",
        "Kallioinen, Paananen, Bürkner & Vehtari 2024, Statistics and Computing 34",
        ("prior sensitivity", "power-scaling"),
    ),
    Term(
        "prior-data-conflict",
        "prior-data conflict",
        "[[prior|Prior]] and likelihood say different things of a parameter: raising either to a power moves it. Where the "
        "prior alone moves it, the prior is strong or the likelihood weak.",
        "",
        "Kallioinen, Paananen, Bürkner & Vehtari 2024, Statistics and Computing 34",
        ("prior-data conflict",),
    ),
    # Evidence and criteria
    Term(
        "nats",
        "nats",
        "Unit of differences between log densities, by the natural logarithm. One nat is a factor of e ≈ 2.72.",
        "",
        "",
        ("nats", "nat"),
    ),
    Term(
        "evidence",
        "evidence",
        "Probability of the data under the model, all parameters integrated out under the [[prior]]; also called "
        "marginal likelihood. It compares models, and depends on the prior.",
        "p(x) = ∫ p(x | θ) p(θ) dθ",
        "MacKay 2003, Information Theory, Inference, and Learning Algorithms, chapter 28",
        ("evidence",),
    ),
    Term(
        "elbo",
        "ELBO",
        "Evidence lower bound: what variational inference maximises. It is below the log [[evidence]] by the [[kl|KL "
        "divergence]] of q from the posterior, so that the higher of two belongs to the better q.",
        "E<sub>q</sub>[log p(x, θ)] − E<sub>q</sub>[log q(θ)] = log p(x) − KL(q ‖ p(θ | x))",
        f"{BISHOP}, section 10.1",
        ("ELBO",),
    ),
    Term(
        "bound",
        "lower bound",
        "A number that is at most the one sought: the [[elbo]] is a lower bound on the log [[evidence]]. Of a mixture, a q "
        "around one numbering of the clusters misses the other K! − 1, so that log K! may be added where the clusters "
        "are apart.",
        "",
        f"{BISHOP}, section 10.2.2",
        ("lower bound",),
    ),
    Term(
        "bridge",
        "bridge sampling",
        "Estimates the [[evidence]] from posterior draws and draws of a distribution near the posterior, each "
        "weighted by the other's density.",
        "p(x) = E<sub>q</sub>[h(θ) p(x, θ)] / E<sub>p(θ | x)</sub>[h(θ) q(θ)]",
        "Meng & Wong 1996, Statistica Sinica 6",
        ("bridge sampling",),
    ),
    Term(
        "psis",
        "importance sampling",
        "Draws from one distribution, weighted by the ratio of two densities, stand for draws from the other. Pareto "
        "smoothing (PSIS) replaces the largest weights by quantiles of a Pareto distribution fitted to them.",
        "E<sub>p</sub>[f] = E<sub>q</sub>[f p / q] / E<sub>q</sub>[p / q]",
        PSIS,
        ("importance sampling", "PSIS"),
    ),
    Term(
        "khat",
        "Pareto k-hat",
        "Shape of the Pareto distribution fitted to the largest importance ratios. Below 0.5 the weights have a "
        "variance and [[psis|importance sampling]] is good, up to 0.7 usable, above it unreliable. Of q against the "
        "posterior it says how well q can stand in for it.",
        "P(ratio > r) ∝ r<sup>−1/k</sup> for large r",
        f"{PSIS}; Yao, Vehtari, Simpson & Gelman 2018, International Conference on Machine Learning",
        ("k-hat", "k-hats", "Pareto k-hat"),
    ),
    Term(
        "likeliest-fault",
        "likeliest fault",
        "The single mistake that, planted in the reference, makes it look most like the method: a shift, a width, a lost "
        "correlation, a wrong sign, the prior, a Jacobian. It is named only where a mean, an sd or a correlation departs by "
        "more than Monte Carlo error, and where it explains half of the divergence or more.",
        "least n KL(method | reference with the fault) + k/2 log n, both as normals",
        "",
        ("likeliest fault",),
    ),
    Term(
        "aic",
        "AIC",
        "Akaike's information criterion: log likelihood at its maximum less the number of free parameters, times −2, so "
        "that smaller is better. Beside log densities it is shown as −AIC / 2.",
        "−AIC / 2 = L − p",
        "Akaike 1974, IEEE Transactions on Automatic Control 19",
        ("AIC",),
    ),
    Term(
        "bic",
        "BIC",
        "Bayesian information criterion: log likelihood at its maximum less a penalty that grows with the number of "
        "points, times −2, so that smaller is better. Beside log densities it is shown as −BIC / 2, a rough log "
        "[[evidence]].",
        "−BIC / 2 = L − (p / 2) log N",
        "Schwarz 1978, Annals of Statistics 6",
        ("BIC",),
    ),
    Term(
        "icl",
        "ICL",
        "Integrated completed likelihood: −[[bic|BIC]] / 2 less the entropy of the [[responsibilities]], so that clusters "
        "that overlap count for less; times −2, so that smaller is better. Beside log densities it is shown as −ICL / 2.",
        "−ICL / 2 = −BIC / 2 + Σ<sub>n</sub> Σ<sub>k</sub> r<sub>nk</sub> log r<sub>nk</sub>",
        "Biernacki, Celeux & Govaert 2000, IEEE Transactions on Pattern Analysis and Machine Intelligence 22",
        ("ICL",),
    ),
    Term(
        "sabic",
        "SABIC",
        "Sample-size adjusted [[bic|BIC]]: its penalty counts fewer points, so that it chooses more clusters than BIC does. "
        "Smaller is better.",
        "SABIC = −2 L + p log((N + 2) / 24)",
        "Sclove 1987, Psychometrika 52",
        ("SABIC",),
    ),
    Term(
        "g2",
        "G² and X²",
        "How far the numbers of rows with each pattern of answers, n<sub>c</sub>, are from those that the model expects, "
        "m<sub>c</sub>: the likelihood ratio statistic G² and Pearson's X². With many rows a pattern, both have a "
        "chi-square distribution on the [[df|degrees of freedom]] where the model is true.",
        "G² = 2 Σ<sub>c</sub> n<sub>c</sub> log(n<sub>c</sub> / m<sub>c</sub>), "
        "X² = Σ<sub>c</sub> (n<sub>c</sub> − m<sub>c</sub>)² / m<sub>c</sub>",
        "Goodman 1974, Biometrika 61",
        ("G²", "X²"),
    ),
    Term(
        "df",
        "degrees of freedom",
        "How many numbers of a table of patterns the model leaves free: the possible patterns less one, less the free "
        "parameters. Below zero the model is not identified.",
        "df = Π<sub>d</sub> C<sub>d</sub> − 1 − p",
        "Goodman 1974, Biometrika 61",
        ("degrees of freedom",),
    ),
    Term(
        "bvr",
        "bivariate residual",
        "Pearson's X² of the two-way table of two columns against what the model expects, over its degrees of freedom. "
        "It says whether the classes explain how the two go together. It has no chi-square distribution; values far "
        "above 1 deserve a look, and a p-value comes from replicated data.",
        "BVR<sub>ij</sub> = Σ<sub>ab</sub> (n<sub>ab</sub> − m<sub>ab</sub>)² / m<sub>ab</sub> / "
        "((C<sub>i</sub> − 1)(C<sub>j</sub> − 1))",
        f"{LATENT_GOLD}; Oberski, van Kollenburg & Vermunt 2013, Advances in Data Analysis and Classification 7",
        ("bivariate residual", "bivariate residuals"),
    ),
    Term(
        "local-independence",
        "local independence",
        "Within a class the columns are independent of each other: whatever association they have in the whole table is due "
        "to the classes.",
        "p(x | z = k) = Π<sub>d</sub> p(x<sub>d</sub> | z = k)",
        "Lazarsfeld & Henry 1968, Latent Structure Analysis",
        ("local independence",),
    ),
    Term(
        "entropy-r2",
        "entropy R²",
        "By what share knowing a row lowers the entropy H of its class: 1 where every row's class is certain, 0 where the "
        "columns say nothing of it. Relative entropy takes log K for the entropy of the classes, as if they were of one size.",
        "1 − mean<sub>n</sub> H(r<sub>n</sub>) / H(mean<sub>n</sub> r<sub>n</sub>)",
        f"{LATENT_GOLD}; Ramaswamy, DeSarbo, Reibstein & Robinson 1993, Marketing Science 12",
        ("entropy R²", "relative entropy"),
    ),
    Term(
        "classification-error",
        "classification error",
        "The expected share of points whose class is not the one that they are assigned to, their most probable one: the mean "
        "[[uncertainty|classification uncertainty]].",
        "1 − mean<sub>n</sub> max<sub>k</sub> r<sub>nk</sub>",
        LATENT_GOLD,
        ("classification error", "classification errors"),
    ),
    Term(
        "one-se",
        "one-standard-error rule",
        "Takes the simplest model whose score is within one standard error of the best one's.",
        "",
        "Breiman, Friedman, Olshen & Stone 1984, Classification and Regression Trees",
        ("one-standard-error rule", "one standard error rule"),
    ),
    Term(
        "restarts",
        "restarts",
        "Runs of one optimiser from different starts, of which the best is kept. A start of EM or CAVI is the best of eight "
        "short runs of ten passes (of fewer where the data are large), which begin at clusters around points of the data "
        "that k-means++ draws far from each other, moved on by k-means in two of the eight. If it collapses, the next best "
        "takes its place; a start has collapsed once all of them have.",
        "",
        "Arthur & Vassilvitskii 2007, ACM-SIAM Symposium on Discrete Algorithms; Biernacki, Celeux & Govaert 2003, CSDA 41",
        ("restarts", "k-means++"),
    ),
    # Prediction
    Term(
        "cross-validation",
        "cross-validation",
        "The data are parted into folds; each is scored by the fit to the others, so that no point is scored by a fit "
        "that saw it.",
        "",
        "Stone 1974, Journal of the Royal Statistical Society B 36",
        ("cross-validation",),
    ),
    Term(
        "log-density",
        "log predictive density",
        "Logarithm of the [[predictive]] at a point: the score of a prediction, higher being better. For points that "
        "the fit has seen it is too high.",
        "log p(x* | x)",
        "Gneiting & Raftery 2007, Journal of the American Statistical Association 102",
        ("log predictive density",),
    ),
    Term(
        "elpd",
        "elpd",
        "Expected log predictive density: the mean score of new points, times the number of points. Leave-one-out "
        "(LOO) estimates it by scoring each point under the posterior of all others.",
        "elpd<sub>loo</sub> = Σ<sub>n</sub> log p(x<sub>n</sub> | x<sub>−n</sub>)",
        LOO,
        ("elpd", "leave-one-out", "Leave-one-out", "LOO"),
    ),
    Term(
        "psis-loo",
        "PSIS-LOO",
        "Leave-one-out ([[elpd]]) without fitting again: draws from the posterior of all points are weighted towards "
        "that without one, by [[psis|Pareto-smoothed importance sampling]]. Each point's [[khat|k-hat]] says whether "
        "that worked.",
        "",
        LOO,
        ("PSIS-LOO",),
    ),
    Term(
        "p-loo",
        "p_loo",
        "Effective number of parameters: how much the points' log density under the posterior exceeds their "
        "leave-one-out score.",
        "p<sub>loo</sub> = Σ<sub>n</sub> log p(x<sub>n</sub> | x) − elpd<sub>loo</sub>",
        LOO,
        ("p_loo",),
    ),
    Term(
        "paired",
        "paired difference",
        "Two methods are compared point by point, or data set by data set, and the differences averaged; what is hard "
        "for both cancels, and the standard error is that of the differences.",
    ),
    Term(
        "loo-pit",
        "LOO-PIT",
        "Probability, under the prediction from all other points, of a value below the one observed (probability "
        "integral transform). Over the points it should be uniform.",
        "P(x* ≤ x<sub>n</sub> | x<sub>−n</sub>)",
        "Gabry, Simpson, Vehtari, Betancourt & Gelman 2019, Journal of the Royal Statistical Society A 182",
        ("LOO-PIT",),
    ),
    Term(
        "ppc",
        "posterior predictive check",
        "Data sets are simulated from the fit and compared with the data by a statistic T. The p-value is the share "
        "of simulated ones with a larger T; extreme ones speak against the model.",
        "p = P(T(x<sup>rep</sup>) > T(x) | x)",
        "Gelman, Meng & Stern 1996, Statistica Sinica 6",
        ("posterior predictive check", "posterior predictive checks", "Predictive checks", "predictive checks"),
    ),
    Term(
        "ecdf",
        "ECDF",
        "Empirical cumulative distribution function: the share of values at or below each point. Bands around that of "
        "uniform values hold the whole curve with the stated probability.",
        "",
        "Säilynoja, Bürkner & Vehtari 2022, Statistics and Computing 32",
        ("ECDF", "distribution function", "distribution functions"),
    ),
    # Recovery
    Term(
        "ari",
        "adjusted Rand index",
        "Agreement of two partitions by counting pairs of points, less what chance would give: 1 is equal, about 0 is "
        "chance.",
        "(index − E[index]) / (max index − E[index])",
        "Hubert & Arabie 1985, Journal of Classification 2",
        ("adjusted Rand index", "adjusted Rand"),
    ),
    Term(
        "ami",
        "adjusted mutual information",
        "Agreement of two partitions by the information that one has of the other, less what chance would give: 1 is "
        "equal, about 0 is chance.",
        "(I(U, V) − E[I]) / (mean of H(U), H(V) − E[I])",
        "Vinh, Epps & Bailey 2010, Journal of Machine Learning Research 11",
        ("adjusted mutual information",),
    ),
    Term(
        "accuracy",
        "matched accuracy",
        "Share of points whose most probable cluster is that of their class, after the best one-to-one matching of "
        "clusters with classes.",
        "",
        "",
        ("matched accuracy",),
    ),
    Term(
        "brier",
        "Brier score",
        "Mean squared difference between the [[responsibilities]] and the true class written as zeros and a one: 0 is "
        "best, 2 worst.",
        "mean<sub>n</sub> Σ<sub>k</sub> (r<sub>nk</sub> − 1[class of n is k])<sup>2</sup>",
        "Brier 1950, Monthly Weather Review 78",
        ("Brier score",),
    ),
    Term(
        "log-score",
        "log score",
        "Mean logarithm of the probability that was given to the right class, in [[nats]]: 0 is best, and one "
        "confident error costs much.",
        "mean<sub>n</sub> log r<sub>n, class of n</sub>",
        "Gneiting & Raftery 2007, Journal of the American Statistical Association 102",
        ("log score",),
    ),
    Term(
        "calibration-error",
        "calibration error",
        "Points are grouped by the probability of their most probable cluster; in each of ten groups this is held "
        "against the share that is right. The mean absolute difference is 0 where probabilities are what they say.",
        "Σ<sub>b</sub> (n<sub>b</sub> / N) |confidence<sub>b</sub> − accuracy<sub>b</sub>|",
        "Naeini, Cooper & Hauskrecht 2015, AAAI Conference on Artificial Intelligence",
        ("calibration error",),
    ),
    # Studies
    Term(
        "sbc",
        "simulation-based calibration (SBC)",
        "Parameters are drawn from the prior, data from them, and the true value is ranked among posterior draws. "
        "Over many data sets these ranks are uniform if the posterior is right.",
        "",
        "Talts, Betancourt, Simpson, Vehtari & Gelman 2018, Validating Bayesian Inference Algorithms with "
        "Simulation-Based Calibration",
        ("simulation-based calibration", "SBC"),
    ),
    Term(
        "vsbc",
        "VSBC",
        "Variational simulation-based calibration: looks only at the symmetry of q(quantity < truth) over simulated "
        "data sets, here of the truth's rank among draws of q, which is symmetric where that probability is. A q that is too "
        "narrow but centred is symmetric; a biased one is not.",
        "",
        "Yao, Vehtari, Simpson & Gelman 2018, International Conference on Machine Learning",
        ("VSBC",),
    ),
    Term(
        "wilson",
        "Wilson interval",
        "Interval for a share that was observed in n cases, which stays between 0 and 1 and holds its level for few "
        "cases.",
        "(p̂ + z<sup>2</sup>/2n ± z √(p̂(1 − p̂)/n + z<sup>2</sup>/4n<sup>2</sup>)) / (1 + z<sup>2</sup>/n)",
        "Wilson 1927, Journal of the American Statistical Association 22",
        ("Wilson interval", "Wilson's interval", "Wilson's"),
    ),
    Term(
        "simultaneous",
        "simultaneous intervals",
        "Intervals for several numbers that all hold together with 95%, not each alone; they are wider, here by "
        "[[bonferroni]], and may be used to count how many numbers differ from zero.",
        "",
        "Miller 1981, Simultaneous Statistical Inference",
        ("simultaneous interval", "simultaneous intervals", "simultaneous 95% interval", "simultaneous 95% intervals"),
    ),
    Term(
        "power",
        "power",
        "Probability that a check detects a departure of the stated size. One that it detects with little power may well be "
        "there unseen.",
    ),
    Term(
        "p-value",
        "p-value",
        "Probability of a departure at least as large as the one seen, if there were none. A large one is no proof "
        "that there is none.",
        "",
        "",
        ("p-value", "p-values"),
    ),
    *SERIES,
)

TERMS: dict[str, Term] = {term.slug: term for term in _TERMS}
"""Slug -> term, in the order in which they belong together."""
